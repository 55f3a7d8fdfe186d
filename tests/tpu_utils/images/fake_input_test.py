"""The null input has the shapes of the real one."""
import pytest
import tensorflow as tf

from tpu_utils.images import digits
from tpu_utils.images.fake_input import FakeInput
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.spec import PreprocessSpec

SPEC = PreprocessSpec(image_size=16)
COMMON = {'train_batch_size': 8, 'eval_batch_size': 8, 'num_label_classes': 10}


@pytest.mark.slow
@pytest.mark.parametrize('settings', [{}, {'use_bfloat16': True, 'transpose_input': True}])
@pytest.mark.parametrize('hosts, replicas', [(1, 1), (2, 4)])
def test_batches_have_the_shapes_and_the_number_of_the_real_input(settings, hosts, replicas):
  context = tf.distribute.InputContext(hosts, 0, replicas)
  real = ImageNetInput(digits.DATA_DIR, SPEC, **COMMON, **settings)
  fake = FakeInput(SPEC, num_eval_images=digits.NUM_EVAL_IMAGES, **COMMON, **settings)
  assert fake.train_dataset(context, 3).element_spec == real.train_dataset(context, 3).element_spec
  assert fake.eval_dataset(context).element_spec == real.eval_dataset(context).element_spec
  assert len(list(fake.eval_dataset(context))) == len(list(real.eval_dataset(context)))
  assert fake.num_eval_batches == real.num_eval_batches == -(-digits.NUM_EVAL_IMAGES // 8)


def test_training_is_an_endless_sequence_of_black_images_of_class_0():
  fake = FakeInput(SPEC, num_eval_images=1, **COMMON)
  for batch in fake.train_dataset().take(20):
    assert not batch['images'].numpy().any() and (batch['labels'].numpy().argmax(1) == 0).all()
  assert fake.train_dataset().cardinality() == tf.data.INFINITE_CARDINALITY
  assert fake.explain(ValueError()) is None
