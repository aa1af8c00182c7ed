"""Networks of six kinds, each with data whose truth is known, for docs/make_models.py.

Every module has

- `NAME`, `TEXT`: the title of its section in docs/models.md, and the description of data and network; `REMARK`
  for remarks on the results, written after a run;
- `background(count, seed)`: the inputs before anything that tells the classes apart is added to them;
- `data(count, seed)`: inputs, labels and truth. The truth is bool, of the inputs' shape without the channel axis,
  and true where an input was changed. A sample in which nothing was changed has no truth and is not explained.
  With several inputs, inputs and truth are lists;
- `build()`: the network up to its logits, made of layers that Keras 2 and Keras 3 share;
- `CLASSES`, `WITH_TRUTH`: how many classes there are, and which of them have a truth;
- `TRAINING`: how many samples and epochs.
"""

from models import ecg_resnet, eegnet, siamese, unet_3d, video, vit

ALL = {
    "eegnet": eegnet,
    "ecg_resnet": ecg_resnet,
    "unet_3d": unet_3d,
    "video": video,
    "vit": vit,
    "siamese": siamese,
}
"""The modules by the names that docs/make_models.py takes."""
