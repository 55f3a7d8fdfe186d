"""The embedded data set of OSCAR: scenes of real handwritten digits and the texts about them.

    from oscar import scenes
    world = scenes.build('runs/scenes')       # three minutes; the second call returns at once
    oscar.Tokenizer(world.vocab_file)
    PretrainInput(world.data_dir, ...)        # splits 'train' and 'val'
    world.prepare('vqa')                      # TFDS builder; also coco_caption, nocaps, ...

A scene is two to five coloured digits on a canvas, sampled at random (`graph`). `canvas` paints it
with the embedded digits, a ResNeXt trained on other scenes (`detector`) gives its regions, and its
captions, questions and statements follow from the scene graph, which is known exactly. The digits
of the split 'val' are held out: no training scene and no detector training contains them. With
`world='stamps'` the things are photographs (`stamps`).

Importing this package is cheap: the first use of a name below imports TensorFlow.
"""

from tpu_utils import lazy

__all__ = ['World', 'build']

__getattr__, __dir__ = lazy.attach(__name__, {'World': 'world', 'build': 'world'})
