"""The networks of keras_hub, small: two blocks where the published network has twelve, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorflow import keras

IMAGE = (32, 32, 3)
WORDS = {"vocabulary_size": 20}
TEXT = {**WORDS, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
VISION = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8}

Build = Callable[[Any], keras.Model]
"""Builds a network from keras_hub.models."""


def with_head(backbone: keras.Model, key: str | None = None) -> keras.Model:
    """A backbone with a Dense layer: on its pooled output, its mean over tokens or places, or what `key` names."""
    outputs = backbone.output
    if isinstance(outputs, dict):
        key = key or ("pooled_output" if "pooled_output" in outputs else "sequence_output")
        outputs = outputs[key if key in outputs else next(iter(outputs))]
    if isinstance(outputs, (list, tuple)):
        outputs = outputs[-1]
    pooling = {3: keras.layers.GlobalAveragePooling1D, 4: keras.layers.GlobalAveragePooling2D}
    if len(outputs.shape) in pooling:
        outputs = pooling[len(outputs.shape)]()(outputs)
    elif len(outputs.shape) == 5:
        outputs = keras.layers.GlobalAveragePooling3D()(outputs)
    return keras.Model(backbone.input, keras.layers.Dense(3)(outputs))


def classifier_of(name: str, backbone: Build, **options: Any) -> Build:
    """A classifier of three classes on a backbone."""
    return lambda m: getattr(m, name)(backbone=backbone(m), num_classes=3, preprocessor=None, **options)


def backbone_of(name: str, **options: Any) -> Build:
    """A backbone with these options."""
    return lambda m: getattr(m, name)(**options)


def headed(name: str, key: str | None = None, **options: Any) -> Build:
    """A backbone with a Dense layer, see `with_head`."""
    return lambda m: with_head(getattr(m, name)(**options), key)


_VIT = {**VISION, "image_shape": IMAGE, "patch_size": 8}
_MIT = backbone_of(
    "MiTBackbone",
    image_shape=IMAGE,
    num_layers=2,
    layerwise_depths=[1, 1],
    layerwise_num_heads=[1, 2],
    layerwise_sr_ratios=[2, 1],
    layerwise_patch_sizes=[7, 3],
    layerwise_strides=[4, 2],
    max_drop_path_rate=0.1,
    hidden_dims=[8, 16],
)
_RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 64, 64, 64],
    "stackwise_num_blocks": [1, 1, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "image_shape": (64, 64, 3),
}
_HGNET = {
    "depths": [1, 1],
    "embedding_size": 8,
    "hidden_sizes": [16, 32],
    "stem_channels": [3, 8, 8],
    "hidden_act": "relu",
    "use_learnable_affine_block": True,
    "stackwise_stage_filters": [(8, 8, 16, 1, 2, 3), (16, 8, 32, 1, 2, 3)],
    "apply_downsample": [False, True],
    "use_lightweight_conv_block": [False, True],
    "image_shape": IMAGE,
}
_DINO = {**_VIT, "intermediate_dim": 16}
_MOBILENET = {
    "stackwise_expansion": [[8, 16], [24]],
    "stackwise_num_blocks": [2, 1],
    "stackwise_num_filters": [[8, 8], [16]],
    "stackwise_kernel_size": [[3, 3], [5]],
    "stackwise_num_strides": [[2, 1], [2]],
    "stackwise_se_ratio": [[None, None], [0.25]],
    "stackwise_activation": [["relu", "relu"], ["hard_swish"]],
    "stackwise_padding": [[1, 1], [2]],
    "output_num_filters": 24,
    "depthwise_filters": 8,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "last_layer_filter": 24,
    "squeeze_and_excite": 0.5,
    "image_shape": IMAGE,
}
_EFFICIENT = {
    "stackwise_width_coefficients": [1.0] * 2,
    "stackwise_depth_coefficients": [1.0] * 2,
    "stackwise_kernel_sizes": [3, 3],
    "stackwise_num_repeats": [1, 2],
    "stackwise_input_filters": [8, 8],
    "stackwise_output_filters": [8, 16],
    "stackwise_expansion_ratios": [1, 4],
    "stackwise_squeeze_and_excite_ratios": [0.0, 0.25],
    "stackwise_strides": [1, 2],
    "stackwise_block_types": ["fused", "unfused"],
    "input_shape": IMAGE,
    "num_features": 24,
}
_MOBILENET_V5 = {
    "stackwise_block_types": [["er"], ["uir", "mqa"]],
    "stackwise_num_blocks": [1, 2],
    "stackwise_num_filters": [[8], [16, 16]],
    "stackwise_strides": [[2], [2, 1]],
    "stackwise_act_layers": [["relu"], ["relu", "relu"]],
    "stackwise_exp_ratios": [[2.0], [2.0, 1.0]],
    "stackwise_se_ratios": [[0.0], [0.0, 0.0]],
    "stackwise_dw_kernel_sizes": [[0], [5, 3]],
    "stackwise_dw_start_kernel_sizes": [[0], [0, 0]],
    "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
    "stackwise_exp_kernel_sizes": [[3], [0, 0]],
    "stackwise_pw_kernel_sizes": [[1], [0, 0]],
    "stackwise_num_heads": [[0], [0, 2]],
    "stackwise_key_dims": [[0], [0, 8]],
    "stackwise_value_dims": [[0], [0, 8]],
    "stackwise_kv_strides": [[0], [0, 1]],
    "stackwise_use_cpe": [[False], [False, False]],
    "use_msfa": False,
    "num_features": 16,
    "layer_scale_init_value": 0.1,
    "image_shape": IMAGE,
}


def clip(m: Any, prefix: str, **of_text: Any) -> tuple[keras.Model, keras.Model]:
    """The encoders of photos and of texts of a network like CLIP."""
    vision = getattr(m, f"{prefix}VisionEncoder")(**_VIT, intermediate_dim=16)
    text = getattr(m, f"{prefix}TextEncoder")(**{**TEXT, "embedding_dim": 8, "max_sequence_length": 32, **of_text})
    return vision, text


def _segformer(m: Any) -> keras.Model:
    backbone = m.SegFormerBackbone(image_encoder=_MIT(m), projection_filters=8)
    return m.SegFormerImageSegmenter(backbone=backbone, num_classes=3, preprocessor=None)


def _deeplab(m: Any) -> keras.Model:
    backbone = m.DeepLabV3Backbone(
        image_encoder=m.ResNetBackbone(**_RESNET),
        projection_filters=8,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[2, 3],
        image_shape=(64, 64, 3),
    )
    return m.DeepLabV3ImageSegmenter(backbone=backbone, num_classes=3, preprocessor=None)


def _basnet(m: Any) -> keras.Model:
    encoder = m.ResNetBackbone(**{name: value for name, value in _RESNET.items() if name != "image_shape"})
    backbone = m.BASNetBackbone(
        image_encoder=encoder, num_classes=1, image_shape=(64, 64, 3), projection_filters=64
    )
    segmenter = m.BASNetImageSegmenter(backbone=backbone, preprocessor=None)
    return keras.Model(segmenter.input, keras.tree.flatten(segmenter.output)[0])


def _retinanet(m: Any) -> keras.Model:
    from keras_hub.layers import AnchorGenerator
    from keras_hub.src.models.retinanet.retinanet_label_encoder import RetinaNetLabelEncoder

    backbone = m.RetinaNetBackbone(
        image_encoder=m.ResNetBackbone(**_RESNET), min_level=3, max_level=4, use_p5=False, image_shape=(64, 64, 3)
    )
    anchors = AnchorGenerator("xyxy", 3, 4, 1, [0.5, 1.0, 2.0], 4.0)
    detector = m.RetinaNetObjectDetector(
        backbone=backbone,
        num_classes=3,
        label_encoder=RetinaNetLabelEncoder(anchors, "xyxy", 3),
        preprocessor=None,
    )
    return keras.Model(detector.input, detector.output["cls_logits"])


def _depth(m: Any) -> keras.Model:
    encoder = m.DINOV2Backbone(
        **{**_DINO, "num_layers": 4, "image_shape": (64, 64, 3), "position_embedding_shape": IMAGE}
    )
    backbone = m.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 8, 8, 8],
        fusion_hidden_dim=8,
        head_hidden_dim=8,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )
    estimator = m.DepthAnythingDepthEstimator(
        backbone=backbone, depth_estimation_type="relative", preprocessor=None
    )
    return keras.Model(estimator.input, estimator.output["depths"])


def _sam(m: Any) -> keras.Model:
    return with_head(
        m.ViTDetBackbone(
            hidden_size=8,
            num_layers=2,
            intermediate_dim=16,
            num_heads=2,
            global_attention_layer_indices=[1],
            image_shape=IMAGE,
            patch_size=8,
            num_output_channels=8,
            window_size=2,
        )
    )


def _parseq(m: Any) -> keras.Model:
    encoder = m.ViTBackbone(**_VIT, mlp_dim=16, use_class_token=False)
    return with_head(
        m.PARSeqBackbone(
            image_encoder=encoder,
            vocabulary_size=20,
            max_label_length=32,
            decoder_hidden_dim=8,
            num_decoder_layers=1,
            num_decoder_heads=2,
            decoder_mlp_dim=16,
        )
    )


IMAGES: dict[str, Build] = {
    "BASNetImageSegmenter": _basnet,
    "CLIPVisionEncoder": lambda m: with_head(clip(m, "CLIP")[0]),
    "CSPNetImageClassifier": classifier_of(
        "CSPNetImageClassifier",
        backbone_of(
            "CSPNetBackbone",
            stem_filters=8,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_depth=[1, 2],
            stackwise_strides=[1, 2],
            stackwise_num_filters=[8, 16],
            block_type="dark_block",
            stage_type="dark",
            image_shape=IMAGE,
        ),
    ),
    "DINOV2Backbone": headed("DINOV2Backbone", **_DINO, position_embedding_shape=IMAGE),
    "DINOV2Backbone, registers and SwiGLU": headed(
        "DINOV2Backbone", **_DINO, position_embedding_shape=IMAGE, num_register_tokens=2, use_swiglu_ffn=True
    ),
    "DINOV3Backbone": headed("DINOV3Backbone", **_DINO),
    "DeepLabV3ImageSegmenter": _deeplab,
    "DeiTImageClassifier": classifier_of(
        "DeiTImageClassifier", backbone_of("DeiTBackbone", **_VIT, intermediate_dim=16)
    ),
    "DenseNetImageClassifier": classifier_of(
        "DenseNetImageClassifier",
        backbone_of("DenseNetBackbone", stackwise_num_repeats=[1, 2], image_shape=IMAGE, growth_rate=4),
    ),
    "DepthAnythingDepthEstimator": _depth,
    "EfficientNetImageClassifier": classifier_of(
        "EfficientNetImageClassifier", backbone_of("EfficientNetBackbone", **_EFFICIENT)
    ),
    "HGNetV2ImageClassifier": classifier_of("HGNetV2ImageClassifier", backbone_of("HGNetV2Backbone", **_HGNET)),
    "MetaCLIP2VisionEncoder": lambda m: with_head(clip(m, "MetaCLIP2")[0]),
    "MiTImageClassifier": classifier_of("MiTImageClassifier", _MIT),
    "MobileNetImageClassifier": classifier_of(
        "MobileNetImageClassifier", backbone_of("MobileNetBackbone", **_MOBILENET)
    ),
    "MobileNetV5ImageClassifier": classifier_of(
        "MobileNetV5ImageClassifier", backbone_of("MobileNetV5Backbone", **_MOBILENET_V5)
    ),
    "PARSeqBackbone": _parseq,
    "ResNetImageClassifier": classifier_of("ResNetImageClassifier", backbone_of("ResNetBackbone", **_RESNET)),
    "RetinaNetObjectDetector": _retinanet,
    "SegFormerImageSegmenter": _segformer,
    "SigLIPVisionEncoder": lambda m: with_head(clip(m, "SigLIP", projection_dim=8)[0]),
    "SwinTransformerImageClassifier": classifier_of(
        "SwinTransformerImageClassifier",
        backbone_of(
            "SwinTransformerBackbone",
            image_shape=IMAGE,
            embed_dim=8,
            depths=(2, 2),
            num_heads=(2, 2),
            window_size=2,
            patch_size=4,
        ),
    ),
    "VGGImageClassifier": classifier_of(
        "VGGImageClassifier",
        backbone_of("VGGBackbone", stackwise_num_repeats=[1, 2], stackwise_num_filters=[8, 16], image_shape=IMAGE),
    ),
    "ViTDetBackbone": _sam,
    "ViTImageClassifier": classifier_of("ViTImageClassifier", backbone_of("ViTBackbone", **_VIT, mlp_dim=16)),
    "VideoPrismBackbone": headed(
        "VideoPrismBackbone",
        num_frames=2,
        patch_size=8,
        hidden_dim=8,
        intermediate_dim=16,
        num_heads=2,
        num_spatial_layers=1,
        num_temporal_layers=1,
        num_auxiliary_layers=1,
        image_shape=IMAGE,
    ),
    "XceptionImageClassifier": classifier_of(
        "XceptionImageClassifier",
        backbone_of(
            "XceptionBackbone",
            stackwise_conv_filters=[[8, 8], [16, 16], [16, 16]],
            stackwise_pooling=[True, True, False],
            image_shape=(64, 64, 3),
        ),
    ),
}
"""Networks that classify images, or every pixel of one, or that encode them."""
