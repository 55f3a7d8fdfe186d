"""The parts of a page: placeholders, data and pictures inside one file."""
import base64
import json

from tpu_utils.web_page import page


def test_texts_of_strangers_keep_their_placeholders():
  text = page.fill('</*STYLE*/><b>/*DATA*/</b>', {'STYLE': 'x', 'DATA': '/*STYLE*/ /*BASE*/'})
  assert text == '<x><b>/*STYLE*/ /*BASE*/</b>'


def test_every_page_has_the_shared_style():
  assert 'prefers-color-scheme: dark' in page.fill('/*BASE*/', {})


def test_data_do_not_end_their_element():
  data = page.json_data(['</script>', 'naïve'])
  assert '<' not in data and json.loads(data) == ['</script>', 'naïve']


def test_pictures_are_inside():
  png, jpeg = b'\x89PNG\r\n', b'\xff\xd8\xff\xe0'
  assert page.picture_uri(png) == f'data:image/png;base64,{base64.b64encode(png).decode()}'
  assert page.picture_uri(jpeg).startswith('data:image/jpeg;base64,')
