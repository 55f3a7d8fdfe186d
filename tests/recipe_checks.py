"""Checks shared by the recipe tests of all papers."""
import dataclasses
import pathlib
import re
import shlex

from efficientnet import published as efficientnet
from oscar import published as oscar
from resnext import published as resnext

PUBLISHED = {
  'efficientnet': efficientnet.PAPER, 'resnext': resnext.PAPER, 'oscar': oscar.PAPER
}


def fields_of(groups):
  """Returns {flag: field} for settings classes, including aliases."""
  fields = {}
  for field in (field for group in groups for field in dataclasses.fields(group)):
    for name in (field.name, *field.metadata['aliases']):
      fields[name] = field
  return fields


def check_settings(recipe, groups):
  """Fails unless the recipe's settings make valid instances of the script's settings classes."""
  own = {field.name: field for group in groups for field in dataclasses.fields(group)}
  assert not set(recipe.settings) - set(own), recipe.name
  for flag, value in recipe.settings.items():
    expected = own[flag].metadata['type']
    is_valid = type(value) is expected or (expected is float and type(value) is int)
    assert is_valid, (recipe.name, flag)
  for group in groups:
    names = [field.name for field in dataclasses.fields(group)]
    group(**{name: recipe.settings[name] for name in names if name in recipe.settings})


def check_command(recipe, flags):
  """Fails unless every word of the command is `--recipe` or one of `flags`, with a value."""
  words = shlex.split(recipe.command)[3:]
  for word in words:
    name, _, value = word.removeprefix('--').partition('=')
    assert word.startswith('--'), (recipe.name, word)
    assert name == 'recipe' or name in flags, (recipe.name, word)
    assert value or name == 'transfer', (recipe.name, word)
  assert f'--recipe={recipe.name}' in words


def check_texts(recipe):
  """Fails unless the recipe says how its cost is known and, if measured, for which seed."""
  assert any(word in recipe.cost for word in ('estimated', 'measured', 'stated', 'not timed'))
  assert (recipe.measured is None) or 'seed' in recipe.measured


def paper_table(paper, name):
  """Returns the rows of a published table as {column: value}."""
  return PUBLISHED[paper][name].values()


def row_of(paper, name, **values):
  """Returns the only row of a table with these values."""
  rows = [row for row in paper_table(paper, name) if values.items() <= row.items()]
  assert len(rows) == 1, (name, values, len(rows))
  return rows[0]


def numbers(text):
  """Returns the numbers in a text as floats."""
  found = re.findall(r'(?<![\w.-])\d+(?:\.\d+)?(?![\w.]*[a-zA-Z])', text)
  return [float(number) for number in found]


def readme_names(package):
  """Returns the recipes in the first column of the table 'Recipes' of a package's README."""
  text = (pathlib.Path(__file__).parents[1] / package / 'README.md').read_text()
  section = text.split('\n## Recipes\n')[1].split('\n## ')[0]
  cells = [line.split('|')[1] for line in section.splitlines() if line.startswith('| `')]
  return [name for cell in cells for name in re.findall('`([a-z0-9_]+)`', cell)]


def check_readme_numbers(package, recipes):
  """Fails unless published results in the README's table 'Recipes' are those of the recipes."""
  text = (pathlib.Path(__file__).parents[1] / package / 'README.md').read_text()
  section = text.split('\n## Recipes\n')[1].split('\n## ')[0]
  checked = 0
  for line in section.splitlines():
    if line.startswith('| `') and "this project's" not in line:
      names, *_, results = line.strip('| ').split('|')
      known = {
        number
        for name in re.findall('`([a-z0-9_]+)`', names)
        for number in numbers(recipes[name].expects)
      }
      printed = [float(n) for n in re.findall(r'(?<![\w.])\d+\.\d+(?= %|,|;|$|\b)', results)]
      assert set(printed) <= known, (line, printed, known)
      checked += len(printed)
  assert checked > 3
