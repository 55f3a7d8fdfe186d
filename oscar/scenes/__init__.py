"""The embedded world: scenes of real handwritten digits, and all that OSCAR is trained on, made here.

    from oscar import scenes
    world = scenes.build('runs/scenes')       # about a minute; the second call returns at once
    oscar.Tokenizer(world.vocab_file)
    PretrainInput(world.data_dir, ...)        # splits 'train' and 'val'
    world.prepare('vqa')                      # TFDS builder; also coco_caption, nocaps, ...

A scene is two to five coloured digits on a canvas, drawn at random and known exactly (`graph`). Its
picture is painted from the embedded digits (`canvas`), its regions come from a ResNeXt that is
trained here (`detector`), its captions, questions and statements from the scene graph. The digits of
the split 'val' occur in no training scene, and the detector has not seen them.

Importing the package imports nothing else: TensorFlow is loaded by the first use of a name below.
"""
from tpu_utils import lazy

__all__ = ['World', 'build']

__getattr__, __dir__ = lazy.attach(__name__, {'World': 'world', 'build': 'world'})
