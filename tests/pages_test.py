"""Tests the Markdown pages: links, commands, Python code, and that README lists every page."""
import pytest

from tests import pages

USER_PAGES = pages.pages(*pages.PACKAGES)
ALL_PAGES = pages.pages(*pages.PACKAGES, 'tests')


@pytest.mark.parametrize('page', ALL_PAGES)
def test_links_lead_somewhere(page):
  assert pages.broken_links(page) == []


def test_readme_lists_every_page():
  linked = {target.partition('#')[0] for target in pages.links(pages.read('README.md'))}
  assert set(USER_PAGES) - {'README.md'} <= linked


def test_every_package_has_a_page():
  assert {f'{package}/README.md' for package in pages.PACKAGES} <= set(USER_PAGES)


@pytest.mark.parametrize('page', USER_PAGES)
def test_code_is_fenced(page):
  """Nothing would check the commands of a block that is only indented."""
  assert pages.indented_code(pages.read(page)) == []
  assert pages.blocks(pages.read(page), 'sh') == pages.blocks(pages.read(page), 'shell') == []


def commands_of(page):
  """Yields (place, words) of each command of a page."""
  text = pages.read(page)
  for line, block in pages.blocks(text, 'bash'):
    for words in pages.commands(block):
      yield f'{page}:{line}', words
  for words in pages.inline_commands(text):
    yield page, words


@pytest.mark.parametrize('page', USER_PAGES)
def test_commands_are_accepted(page):
  """The flags of each command exist, and their values are allowed."""
  wrong = []
  for place, words in commands_of(page):
    try:
      pages.check_command(words)
    except (ValueError, OSError) as error:
      wrong.append(f'{place}: {" ".join(words)}\n  {error}')
  assert not wrong, '\n'.join(['', *wrong])


@pytest.mark.parametrize('page', USER_PAGES)
def test_python_code_fits_the_project(page):
  names = pages.namespace()
  for _, block in pages.blocks(pages.read(page), 'python'):
    pages.check_python(block, names)


@pytest.mark.parametrize('command, message', [
  ('python -m efficientnet.main --model_nam=x', "Unknown flag 'model_nam'"),
  ('venv/bin/python -m resnext.main --optimizer=adam', "Unknown value of --optimizer 'adam'"),
  ('python -m resnext.main --train_steps=ten', 'must be a whole number'),
  ('python -m oscar.run_vqa --recipe=vqa_bose', "Unknown recipe 'vqa_bose'"),
  ('python -m efficientnet.train', 'no such script'),
  ('python -m tpu_utils.launch --name=b0 efficientnet.main -- --model=x', "Unknown flag 'model'"),
  ('python3 -m http.server', 'no check for this module'),
  ("pip install -e '.[tests]'", 'unknown extra'),
  ('pip install left-pad', 'left-pad is no known package'),
  ('pytest tests/nothing_test.py', 'no such test'),
  ('pytest -m fast', 'unknown marker'),
  ('curl -O https://example.com/x', 'no check for this program'),
])
def test_wrong_commands_are_found(command, message):
  words, = pages.commands(command)
  with pytest.raises(ValueError) as error:
    pages.check_command(words)
  assert message in str(error.value)


def test_commands_of_a_block():
  block = (
    '# both\npython3 -m venv venv && venv/bin/pip install -q -e .\n\n'
    'python -m a \\\n  --b=1  # why\n'
  )
  assert pages.commands(block) == [
    ['python3', '-m', 'venv', 'venv'], ['venv/bin/pip', 'install', '-q', '-e', '.'],
    ['python', '-m', 'a', '--b=1'],
  ]  # fmt: skip


@pytest.mark.parametrize('code, message', [
  ('import resnext\nresnext.build_modle("x")', 'resnext.build_modle does not exist'),
  ('resnext.build_model()', "missing a required argument: 'model_name'"),
  ('from tpu_utils import weights\nweights.load(model, path, user_ema=True)', 'user_ema'),
])
def test_wrong_python_code_is_found(code, message):
  with pytest.raises(ValueError, match=message):
    pages.check_python(code, pages.namespace())


def test_anchors_are_those_of_github():
  text = '# A `b`, [c](d.md)!\n\n## Twice\n\n## Twice\n\n```bash\n# no heading\n```\n'
  assert pages.anchors(text) == {'a-b-c', 'twice', 'twice-1'}
