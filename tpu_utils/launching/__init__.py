"""Starts, follows, resumes and ends training jobs on Cloud TPU VMs through the gcloud program.

`python -m tpu_utils.launch` is the script. The launcher imports no TensorFlow; `agent.py` is copied
to the TPU's hosts and uses Python's standard library only.
"""
