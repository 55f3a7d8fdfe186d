"""The process that holds jax and libtpu: describes a topology, or compiles a module for it.

    python -P compiler.py describe v5e:2x2 RESULT.json
    python -P compiler.py compile v5e:2x2 RESULT.json MODULE.mlir PROGRAM.hlo

It must not import TensorFlow, which does not share a process with jax's compiler; so it imports
nothing of this project, and runs with any Python that has jax and libtpu.
"""
import glob
import json
import os
import re
import sys

# Else libtpu asks a metadata server, for minutes where there is none.
os.environ['TPU_SKIP_MDS_QUERY'] = '1'
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
# TensorFlow's lowering ends with copies in a dialect that the TPU compiler does not read.
_COPY = re.compile(r'^(\s*%[\w#:]+ = )mhlo\.copy (%[\w#]+)(?: \{[^}]*\})? : (tensor<[^>]*>)(.*)$')


def without_copies(text: str) -> str:
  """Replaces TensorFlow's `mhlo.copy` by an identity."""
  return '\n'.join(
    _COPY.sub(r'\1stablehlo.reshape \2 : (\3) -> \3\4', line) if 'mhlo.copy' in line else line
    for line in text.split('\n')
  )


def _open(name):
  from importlib import metadata

  from jax.experimental import topologies

  versions = {package: metadata.version(package) for package in ('jax', 'libtpu')}
  topology = topologies.get_topology_desc(platform='tpu', topology_name=name)
  device = topology.devices[0]
  return device, {'cores': len(topology.devices), 'kind': device.device_kind, **versions}


def _compile(device, path, program):
  import jaxlib
  from jax._src.interpreters import mlir
  from jax._src.lib.mlir import ir

  with open(path, encoding='utf-8') as f:
    text = without_copies(f.read())
  with mlir.make_ir_context():
    module = ir.Module.parse(text)
  api = jaxlib._jax
  options = api.CompileOptions()
  dump = os.path.dirname(program)
  options.executable_build_options.debug_options.xla_dump_to = dump
  options.executable_build_options.debug_options.xla_dump_hlo_as_text = True
  try:
    compiled = device.client.compile(module, api.DeviceList((device,)), options)
  except Exception as e:  # noqa: BLE001 - of a class of its own, which changes with the version.
    return {'error': str(e)[:20000]}
  memory, costs = compiled.get_compiled_memory_stats(), compiled.cost_analysis()
  with open(program, 'w', encoding='utf-8') as f:
    f.write(_text(compiled, dump))
  return {
    'arguments': memory.argument_size_in_bytes,
    'temporaries': memory.temp_size_in_bytes,
    'code': memory.generated_code_size_in_bytes,
    'outputs': memory.output_size_in_bytes - memory.alias_size_in_bytes,
    'flops': costs['flops'],
  }


def _text(compiled, dump):
  """Returns the compiled program as jax reads it, or as libtpu wrote it where jax cannot.

  A program goes from libtpu to jax as a message, and jax refuses operations whose form is newer
  than itself ("async-update instruction should have 1 operands").
  """
  try:
    return compiled.hlo_modules()[0].to_string()
  except Exception:  # of a class of its own, which changes with the version.
    written = glob.glob(os.path.join(glob.escape(dump), '*after_codegen.txt'))
    if not written:
      raise
    with open(max(written, key=os.path.getsize), encoding='utf-8') as f:
      return f.read()


def main(command: str, name: str, result: str, *paths: str) -> None:
  """Writes the answer to a command, or why there is none, to the JSON file `result`."""
  try:
    device, answer = _open(name)
  except ImportError as e:  # PackageNotFoundError is one, too.
    answer = {'missing': str(e)}
  except Exception as e:  # noqa: BLE001 - jax's own classes of errors.
    answer = {'error': str(e)[:20000]}
  else:
    if command == 'compile':
      answer |= _compile(device, *paths)
  with open(result, 'w', encoding='utf-8') as f:
    json.dump(answer, f)


if __name__ == '__main__':
  if len(sys.argv) < 4:
    print(__doc__)
    sys.exit(0 if sys.argv[1:2] in (['--help'], ['-h']) else 2)
  main(*sys.argv[1:])
