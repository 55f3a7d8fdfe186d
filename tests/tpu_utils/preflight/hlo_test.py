"""Bytes of HBM counted from programs written by hand."""
import pytest

from tpu_utils.preflight import hlo


@pytest.mark.parametrize(
  ('shape', 'expected'),
  [
    ('f32[]', 4),
    ('pred[10]', 10),
    ('f32[8,128]{1,0:T(8,128)}', 4096),
    ('f32[9,129]{1,0:T(8,128)}', 16 * 256 * 4),
    ('bf16[2,3,16,8]{3,0,2,1:T(8,128)(2,1)}', 3 * 16 * 8 * 128 * 2),  # 8 to 128, 2 to 8.
    ('bf16[128,16]{0,1:T(8,128)(2,1)}', 128 * 16 * 2),  # The batch in the lanes: no padding.
    ('f32[320]{0:T(512)}', 512 * 4),
    ('u32[2]{0:T(128)}', 512),
    ('s4[16]', 8),
    ('f32[8,128]{1,0:T(8,128)S(1)}', 0),
    ('u32[]{:S(2)}', 0),
    ('(f32[4]{0}, (bf16[4]{0}, f32[4]{0:S(1)}))', 24),
    ('token[]', 0),
  ],
)
def test_a_buffer_takes_whole_tiles_and_nothing_on_the_chip(shape, expected):
  assert hlo.hbm_bytes(shape) == expected


KIB = 1024  # Bytes of f32[256]{0:T(256)}.
PROGRAM = """HloModule step, is_scheduled=true

%updating (p0: f32[1024], p1: f32[256], p2: s32[]) -> f32[1024] {
  %p1.1 = f32[256]{0:T(256)} parameter(1)
  %p0.1 = f32[1024]{0:T(256)} parameter(0)
  %p2.1 = s32[]{:T(128)} parameter(2)
  ROOT %update = f32[1024]{0:T(256)} dynamic-update-slice(%p0.1, %p1.1, %p2.1)
}

%taking (p0: f32[1024], p1: s32[]) -> f32[256] {
  %p0.2 = f32[1024]{0:T(256)} parameter(0)
  %p1.2 = s32[]{:T(128)} parameter(1)
  %part = f32[256]{0:T(256)} dynamic-slice(%p0.2, %p1.2), dynamic_slice_sizes={256}
  ROOT %negated = f32[256]{0:T(256)S(1)} negate(%part)
}

%round (state: (f32[256])) -> (f32[256]) {
  %state = (f32[256]{0:T(256)}) parameter(0)
  %value = f32[256]{0:T(256)} get-tuple-element(%state), index=0
  %grown = f32[256]{0:T(256)} add(%value, %value), metadata={op_name="toy/decoder_1/add"}
  ROOT %next = (f32[256]{0:T(256)}) tuple(%grown)
}

%going (state: (f32[256])) -> pred[] {
  %state.1 = (f32[256]{0:T(256)}) parameter(0)
  ROOT %true = pred[] constant(true)
}

%beside (p0: f32[256]) -> f32[256] {
  %p0.3 = f32[256]{0:T(256)} parameter(0)
  ROOT %turned = f32[256]{0:T(256)} negate(%p0.3)
}

ENTRY %main (a: f32[256], b: f32[1024], i: s32[]) -> (f32[256], f32[1024]) {
  %a = f32[256]{0:T(256)} parameter(0), metadata={op_name="XLA_Args"}
  %b = f32[1024]{0:T(256)} parameter(1), metadata={op_name="XLA_Args"}
  %i = s32[]{:T(128)S(6)} parameter(2), metadata={op_name="XLA_Args"}
BODY
}
"""


def counted(*lines):
  return hlo.traffic(PROGRAM.replace('BODY', '\n'.join(f'  {line}' for line in lines)))


def test_operands_and_results_outside_of_the_chip_count():
  found = counted(
    '%c = f32[256]{0:T(256)S(1)} add(%a, %a), metadata={op_name="toy/first_1/add"}',
    '%d = f32[256]{0:T(256)} multiply(%c, %a), metadata={op_name="gradient_tape/toy/first_1/Mul"}',
    'ROOT %out = (f32[256]{0:T(256)}, /*index=1*/f32[1024]{0:T(256)}) tuple(%d, %b)',
  )
  assert found.bytes == 4 * KIB
  gradient = 'gradient_tape/toy/first_1/Mul'
  assert found.by_operation == {'toy/first_1/add': 2 * KIB, gradient: 2 * KIB}


def test_a_transfer_to_the_chip_is_read_once_and_belongs_to_its_user():
  found = counted(
    '%s = (f32[256]{0:T(256)S(1)}, f32[256]{0:T(256)}, u32[]{:S(2)}) copy-start(%a)',
    '%c = f32[256]{0:T(256)S(1)} copy-done(%s)',
    'ROOT %d = f32[256]{0:T(256)S(1)} negate(%c), metadata={op_name="toy/first/Neg"}',
  )
  assert found.bytes == KIB
  assert found.by_operation == {'toy/first/Neg': KIB}


def test_a_transfer_of_a_slice_reads_the_slice():
  found = counted(
    '%s = ((f32[1024]{0:T(256)}), f32[256]{0:T(256)S(1)}, s32[]{:S(2)}) slice-start(%b), '
    'slice={[0:256]}',
    'ROOT %c = f32[256]{0:T(256)S(1)} slice-done(%s)',
  )
  assert found.bytes == KIB


def test_work_beside_the_rest_counts_once():
  """The lookup of a v5p's SparseCore: started without operands, given them later."""
  found = counted(
    '%s = ((), (), (s32[64]{0:T(1)S(11)})) async-start(), calls=%beside',
    '%g = ((f32[256]{0:T(256)}), f32[256]{0:T(256)}, (s32[64]{0:T(1)S(11)})) async-update(%s, %a)',
    'ROOT %d = f32[256]{0:T(256)} async-done(%g)',
  )
  assert found.bytes == 2 * KIB


def test_fusions_that_update_or_take_a_slice_move_the_slice():
  found = counted(
    '%u = f32[1024]{0:T(256)} fusion(%b, %a, %i), kind=kLoop, calls=%updating',
    'ROOT %t = f32[256]{0:T(256)S(1)} fusion(%u, %i), kind=kLoop, calls=%taking',
  )
  assert found.bytes == 2 * KIB + KIB


def test_a_loop_counts_its_rounds_and_says_if_it_does_not_know_them():
  start = '%w = (f32[256]{0:T(256)}) tuple(%a)'
  loop = 'ROOT %l = (f32[256]{0:T(256)}) while(%w), condition=%going, body=%round'
  known = counted(start, f'{loop}, backend_config={{"known_trip_count":{{"n":"5"}}}}')
  assert known.bytes == 5 * 3 * KIB and not known.open_loops
  assert known.by_operation == {'toy/decoder_1/add': 15 * KIB}
  unknown = counted(start, loop)
  assert unknown.bytes == 3 * KIB and unknown.open_loops == 1


def test_what_is_no_program_is_refused():
  with pytest.raises(ValueError, match='no ENTRY computation'):
    hlo.traffic('stablehlo')
