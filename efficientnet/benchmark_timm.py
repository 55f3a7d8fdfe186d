"""Process in which `efficientnet.benchmark` times timm's network on torch.

Argument: a JSON dict of `network` and the arguments of `torch_process.serve` without the model.
"""
import json
import sys

from tpu_utils.command_line import helper_program
from tpu_utils.image_jobs.benchmarking import torch_process

if __name__ == '__main__':
  helper_program.explain(__doc__)
  import timm

  arguments = json.loads(sys.argv[1])
  torch_process.serve(timm.create_model(arguments.pop('network')), **arguments)
