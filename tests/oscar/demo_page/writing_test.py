"""The page is one file: no network, and no text that ends its data."""

import json
import re

from oscar.demo_page import writing


def test_the_page_holds_everything(tmp_path):
  content = {'scenes': [{'captions': ['</script><b> & "quotes"']}]}
  path = tmp_path / 'demo.html'
  writing.write(content, str(path))
  page = path.read_text(encoding='utf-8')
  (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
  assert json.loads(data) == content
  assert not re.findall(r'/\*[A-Z]+\*/', page)
  assert not re.findall(r'(?:src|href)=["\']?(?:https?:)?//|@import|url\(["\']?http', page)
  assert 'prefers-color-scheme: dark' in page and 'function words(' in page
