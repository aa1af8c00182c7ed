"""The networks of keras_hub that encode or generate text, small, with random weights, as in `networks_of_hub`."""

from __future__ import annotations

from typing import Any

from networks_of_hub import TEXT, WORDS, Build, backbone_of, classifier_of, clip, headed, with_head
from tensorflow import keras

GROUPED = {
    **WORDS,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
}
GEMMA = {**GROUPED, "head_dim": 4}
EXPERTS = {**GROUPED, "num_experts": 3, "top_k": 2}
_SMOL = {
    **WORDS,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, False],
    "layer_types": ["full_attention"] * 2,
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 64,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
}
_T5_GEMMA = {
    **WORDS,
    **{
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in {
            "hidden_dim": 16,
            "intermediate_dim": 24,
            "num_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 4,
            "layer_types": ["full_attention"],
        }.items()
    },
}


def _of_text(name: str, backbone: str, **options: Any) -> Build:
    return classifier_of(name, backbone_of(backbone, **{**TEXT, **options}))


ENCODERS: dict[str, Build] = {
    "AlbertTextClassifier": _of_text("AlbertTextClassifier", "AlbertBackbone", embedding_dim=4),
    "BertTextClassifier": _of_text("BertTextClassifier", "BertBackbone"),
    "BertTextEmbedder": lambda m: with_head(
        m.BertTextEmbedder(backbone=m.BertBackbone(**TEXT), preprocessor=None)
    ),
    "CLIPTextEncoder": lambda m: with_head(clip(m, "CLIP")[1]),
    "DebertaV3TextClassifier": _of_text("DebertaV3TextClassifier", "DebertaV3Backbone", bucket_size=8),
    "DistilBertTextClassifier": _of_text("DistilBertTextClassifier", "DistilBertBackbone"),
    "ESM2Backbone": headed("ESM2Backbone", **TEXT),
    "ESMProteinClassifier": _of_text("ESMProteinClassifier", "ESMBackbone"),
    "ElectraBackbone": headed(
        "ElectraBackbone", **{k: v for k, v in TEXT.items() if k not in WORDS}, vocab_size=20, embedding_dim=8
    ),
    "FNetTextClassifier": classifier_of(
        "FNetTextClassifier", backbone_of("FNetBackbone", **{k: v for k, v in TEXT.items() if k != "num_heads"})
    ),
    "MetaCLIP2TextEncoder": lambda m: with_head(clip(m, "MetaCLIP2")[1]),
    "RobertaTextClassifier": _of_text("RobertaTextClassifier", "RobertaBackbone"),
    "RoformerV2TextClassifier": _of_text("RoformerV2TextClassifier", "RoformerV2Backbone", head_size=4),
    "SigLIPTextEncoder, of its length": lambda m: with_head(_of_length(clip(m, "SigLIP", projection_dim=8)[1])),
    "T5Backbone, encoder": lambda m: with_head(_encoder_of(m.T5Backbone(**TEXT))),
    "XLMRobertaTextClassifier": _of_text("XLMRobertaTextClassifier", "XLMRobertaBackbone"),
    "XLMRobertaTextEmbedder": lambda m: with_head(
        m.XLMRobertaTextEmbedder(backbone=m.XLMRobertaBackbone(**TEXT), preprocessor=None)
    ),
    "XLNetBackbone": headed("XLNetBackbone", **TEXT),
}
"""Networks that encode text."""


def _of_length(encoder: keras.Model) -> keras.Model:
    tokens = keras.Input((32,), dtype="int32", name="tokens")  # the only length that it takes
    return keras.Model(tokens, encoder(tokens))


def _encoder_of(backbone: keras.Model) -> keras.Model:
    inputs = {name: x for name, x in backbone.input.items() if name.startswith("encoder")}
    return keras.Model(inputs, backbone.output["encoder_sequence_output"])


_SEQ = "decoder_sequence_output"
OTHERS: dict[str, Build] = {
    "BartBackbone": headed("BartBackbone", _SEQ, **TEXT),
    "BertMaskedLM": lambda m: m.BertMaskedLM(backbone=m.BertBackbone(**TEXT), preprocessor=None),
    "BloomBackbone": headed("BloomBackbone", **TEXT),
    "CLIPBackbone": lambda m: _scores(m, "CLIP", projection_dim=8),
    "EdRecBackbone": headed(
        "EdRecBackbone",
        _SEQ,
        vocab_size=20,
        num_layers_enc=1,
        num_layers_dec=1,
        hidden_dim=8,
        intermediate_dim=16,
        num_heads=2,
    ),
    "FalconBackbone": headed(
        "FalconBackbone",
        **{k: v for k, v in TEXT.items() if k != "num_heads"},
        num_attention_heads=2,
    ),
    "GPT2Backbone": headed("GPT2Backbone", **TEXT),
    "GPT2CausalLM": lambda m: m.GPT2CausalLM(backbone=m.GPT2Backbone(**TEXT), preprocessor=None),
    "GPTNeoXBackbone": headed("GPTNeoXBackbone", **{**TEXT, "hidden_dim": 16}),
    "Gemma3Backbone": headed("Gemma3Backbone", **GEMMA, image_size=16),
    "GemmaBackbone": headed("GemmaBackbone", **GEMMA),
    "GptOssBackbone": headed("GptOssBackbone", **EXPERTS),
    "Llama3Backbone": headed("Llama3Backbone", **GROUPED),
    "LlamaBackbone": headed("LlamaBackbone", **GROUPED),
    "MistralBackbone": headed("MistralBackbone", **GROUPED),
    "MixtralBackbone": headed("MixtralBackbone", **EXPERTS),
    "MoonshineBackbone": headed(
        "MoonshineBackbone",
        "encoder_sequence_output",
        **WORDS,
        filter_dim=8,
        encoder_num_layers=1,
        decoder_num_layers=1,
        hidden_dim=8,
        intermediate_dim=16,
        encoder_num_heads=2,
        decoder_num_heads=2,
    ),
    "OPTBackbone": headed("OPTBackbone", **TEXT),
    "Phi3Backbone": headed("Phi3Backbone", **GROUPED),
    "Qwen3Backbone": headed("Qwen3Backbone", **GEMMA),
    "Qwen3MoeBackbone": headed("Qwen3MoeBackbone", **EXPERTS, moe_intermediate_dim=8, head_dim=4),
    "QwenBackbone": headed("QwenBackbone", **GROUPED),
    "QwenMoeBackbone": headed(
        "QwenMoeBackbone", **EXPERTS, moe_intermediate_dim=8, shared_expert_intermediate_dim=8
    ),
    "RWKV7Backbone": headed(
        "RWKV7Backbone", **WORDS, hidden_size=16, head_size=8, num_layers=1, intermediate_dim=16
    ),
    "SigLIPBackbone": lambda m: _scores(m, "SigLIP"),
    "SmolLM3Backbone": headed("SmolLM3Backbone", **_SMOL),
    "T5Backbone": headed("T5Backbone", _SEQ, **TEXT),
    "T5GemmaBackbone": headed("T5GemmaBackbone", _SEQ, **_T5_GEMMA),
    "WhisperBackbone": headed(
        "WhisperBackbone", _SEQ, **TEXT, num_mels=8, max_encoder_sequence_length=64, max_decoder_sequence_length=32
    ),
}
"""Networks that generate text, and those of several kinds of input."""


def _scores(m: Any, prefix: str, **options: Any) -> keras.Model:
    of_text = {"projection_dim": 8} if prefix == "SigLIP" else {}
    vision, text = clip(m, prefix, **of_text)
    backbone = getattr(m, f"{prefix}Backbone")(vision_encoder=vision, text_encoder=text, **options)
    return keras.Model(backbone.input, backbone.output["vision_logits"])
