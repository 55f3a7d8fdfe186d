r"""Rules of the Penn Treebank tokenizer that the COCO caption evaluation uses.

They reproduce the results of `PTBTokenizer` of Stanford CoreNLP 3.4.1 with `-preserveLines`. The
character sets were recorded by running it on every character. Two things differ: letters that
Unicode received after 2012 count as letters here (the Java program drops them), and a line ends
only at `\n` (there at `\r`, form feeds and Unicode's line separators, too).
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Sequence

# Besides letters: marks that words contain, mostly of scripts that write vowels as marks.
_MARKS = (
  '00AD 02C2-02C5 02D2-02DF 02E5-036F 0375 0378-0379 0384-0385 03F6 0483-0487 055A-055F 0591-05BD '
  '05BF 05C1-05C2 05C4-05C5 05C7 0615-061A 064B-065E 0670 06D6-06ED 06FD-06FE 070F 0711 0730-074C '
  '07A6-07B0 07EB-07F3 0900-0903 093C 093E-094E 0951-0955 0962-0963 0981-0983 09BC 09BE-09C4 '
  '09C7-09C8 09CB-09CD 09D7 09E2-09E3 0A01-0A03 0A3C 0A3E-0A4F 0A81-0A83 0ABC 0ABE-0ACF 0B82 '
  '0BBE-0BC2 0BC6-0BC8 0BCA-0BCD 0C01-0C03 0C3E-0C56 0D3E-0D44 0D46-0D48 0E31 0E34-0E3A 0E47-0E4E '
  '0EB1 0EB4-0EBC 0EC8-0ECD 1885-1886'
)
# Signs that are tokens by themselves. All other characters are dropped.
_SIGNS = (
  '0021 0023-0027 002A-002F 003A-003F 005C 005E-0060 007C 007E 00A1 00A5-00A9 00AC 00AE-00B4 '
  '00B6-00B9 00BF 00D7 00F7 037E 0387 0589 05BE 05C0 05C3 05C6 05F3-05F4 0600-0603 0606-060C 0614 '
  '061B 061E-061F 066A 066D 06D4 0700-070D 07F6-07F8 0964-0965 0E3F 0E4F 1FBD 2016-2017 201A '
  '201E-2023 2030-2038 203B 203E-2042 2044 2070 2074-207E 2080-208E 20A4 2100-214F 2155-215E '
  '2190-2BFF 3001-3002 3012 30FB FF01-FF0F FF1A-FF20 FF3B-FF40 FF5B-FF65 FFE0-FFE1 FFE5-FFE6'
)
_REPLACED = {
  '(': '-LRB-', ')': '-RRB-', '[': '-LSB-', ']': '-RSB-', '{': '-LCB-', '}': '-RCB-',
  '\x80': '$', '\xa2': 'cents', '\xa3': '#', '\xa4': '$', '\u20a0': '$', '\u20ac': '$',
  '\xbc': '1/4', '\xbd': '1/2', '\xbe': '3/4', '\u2153': '1/3', '\u2154': '2/3',
  '\x85': '...', '\u2026': '...', '\x96': '--', '\x97': '--', '\u2013': '--', '\u2014': '--',
  '\u2015': '--',
}  # fmt: skip
# Curly quotes and guillemets; Windows-1252's codes are read, too.
_QUOTE_OF = str.maketrans(
  {
    **dict.fromkeys('\x91\u2018\u201b\u2039', '`'),
    **dict.fromkeys('\x92\u2019\u203a', "'"),
    **dict.fromkeys('\x93\u201c\xab', '``'),
    **dict.fromkeys('\x94\u201d\xbb', "''"),
  }
)
_QUOTES = '[`\u2018\u2019\u201a\u201b\u201c\u201d\x91-\x94\u201e\u201f\u2039\u203a\xab\xbb]'

_APOSTROPHE = "(?:['\x92\u2019]|(?i:&apos;))"
_ANY_APOSTROPHE = f'(?:{_APOSTROPHE}|[`\x91\u2018\u201b])'
_SPACE = '[ \t\xa0\u2000-\u200a\u3000]'
_BLANK = '[ \t\xa0\u2000-\u200a\u3000\n]'
_AMPERSAND = '(?i:&amp;)'
_TAG_NAME = '[A-Za-z][A-Za-z0-9_:.-]*'
_TAG_VALUE = """(?:'[^']*'|"[^"]*")"""
_TAGS = (
  '<[!?][A-Za-z-][^>\r\n]*>',
  f'<{_TAG_NAME}(?:[ ]+{_TAG_NAME}(?:[ ]*=[ ]*{_TAG_VALUE})?)*[ ]*/?[ ]*>',
  f'</{_TAG_NAME}[ ]*>',
)
_CLITIC = f'{_APOSTROPHE}(?:[msdMSD]|(?i:re|ve|ll))'
_NOT = f'[nN]{_ANY_APOSTROPHE}[tT]'

# Abbreviations keep their period. Those that mostly stand before lower case end a sentence, too, if
# upper case follows; regular expressions, in any case or (second) with a capital.
_MAY_END = (
  'Jan Feb Mar Apr Jun Jul Aug Sept? Oct Nov Dec Mon Tues? Wed Thu(?:rs)? Fri Ala Ariz Calif Colo '
  'Conn Ct Dak Fla Ga Ind Kans? Ky Md Mich Minn Mo Mont Neb Nev Okla Penn Tenn Va Vt Wisc? Wyo '
  'Inc Cos? Corp Pp?t(?-i:[ye])s? Ltd Plc Rt Bancorp Bhd Assn Univ Intl Sys tel est ext sq Jr Sr '
  'Bros Ed\\.D Ph\\.D Blvd Rd Esq etc al seq Bldg'
)
_MAY_END_CAPITAL = 'Az Ark Del Ill La Mass Miss Ore Pa Tex Wash'
_NEVER_ENDS = (
  'Mr Mrs Ms Drs? Profs? Sens? Reps? Attys? Lt Col Gen Messrs Govs? Adm Rev Maj Sgt Cpl Pvt Capt '
  'Ste? Ave Pres Lieut Hon Brig Co?mdr Pfc Spc Supts? Det Mt Ft Adj Adv Asst Assoc Ens Insp Mlle '
  'Mme Msgr Sfc vs Alex Wm Jos Cie a\\.k\\.a cf TREAS Ph Invt Elec Natl M(?-i:[ft])g Dept'
)
_BEFORE_NUMBERS = 'ca figs? prop nos? art bldg pp op'
# After an acronym with period, these words begin a sentence.
_BEGINNINGS = (
  'About According Additionally After An A As At But Earlier He Her Here However If In It Last '
  'Many More Mr\\. Ms\\. Now Once One Other Our She Since So Some Such That The Their Then There '
  'These They This We When While What Yet You'
)
_EXTENSIONS = (
  'bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php '
  'pl png ppt ps py sql tar txt wav x xml zip'
)

_ABBREVIATIONS = f'{_MAY_END} {_MAY_END_CAPITAL} {_NEVER_ENDS} {_BEFORE_NUMBERS}'

Make = Callable[[str], tuple[str | None, int]]


@dataclasses.dataclass(frozen=True)
class Rule:
  """A kind of token.

  Attributes:
    patterns: regular expressions; group 1 is the token, the rest what must follow it. The rule that
      matches the most characters, with what follows, applies; of equals the first.
    make: function(text of group 1) -> (token, characters consumed). None in place of a token drops
      the text.
  """

  patterns: tuple[re.Pattern[str], ...]
  make: Make


def _ranges(text):
  return ''.join(
    '-'.join(f'\\u{code}' for code in part.split('-')) for part in text.split()
  )  # fmt: skip


def _class_of(belongs):
  """Returns the inside of a character class: the 16-bit characters with a property."""
  codes = [code for code in range(0x10000) if belongs(chr(code))]
  parts, start = [], None
  for code, following in zip(codes, [*codes[1:], None], strict=True):
    start = code if start is None else start
    if following != code + 1:
      parts.append(f'\\u{start:04x}-\\u{code:04x}')
      start = None
  return ''.join(parts)


def is_abbreviation(word: str) -> bool:
  """Returns whether a period after the word can belong to it."""
  return _abbreviation().fullmatch(word) is not None


@functools.cache
def _abbreviation():
  return re.compile(_any_of(_ABBREVIATIONS))


def _any_of(words, capital=False):
  """Returns a regular expression for one of the words, in any case or with a capital first."""
  form = (lambda word: f'{word[0]}(?i:{word[1:]})') if capital else (lambda word: f'(?i:{word})')
  return '(?:' + '|'.join(form(word) for word in words.split()) + ')'


def _keep(text):
  return text, len(text)


def _drop(text):
  return None, len(text)


def _without_last(count):
  """Returns a `make` that leaves the last characters to the next token."""
  return lambda text: (text[:-count], len(text) - count)


def _becomes(token):
  return lambda text: (token, len(text))


def _with_period_again(text):
  return text, len(text) - 1


def _acronym_before_sentence(text):
  """Keeps an acronym's period and ends the sentence with it; a single letter has no period."""
  return (text[:1], 1) if len(text) == 2 else _with_period_again(text)


def _without_soft_hyphens(text):
  return text.replace('\xad', '') or '-', len(text)


def _with_hard_spaces(text):
  return text.replace(' ', '\xa0'), len(text)


def _brackets(text):
  spaced = text.replace(' ', '\xa0')
  return spaced.replace('(', '-LRB-').replace(')', '-RRB-'), len(text)


def _ampersand(text):
  return re.sub(_AMPERSAND, '&', text), len(text)


def _left_quote(text):
  plain = text.replace('&apos;', '`').replace("'", '`').replace('"', '``').replace('&quot;', '``')
  return plain.translate(_QUOTE_OF), len(text)


def _right_quote(text):
  plain = text.replace('&apos;', "'").replace('"', "''").replace('&quot;', "''")
  return plain.translate(_QUOTE_OF), len(text)


def _dashes(text):
  return '--' if 3 <= len(text) <= 4 else text, len(text)


def _replaced(text):
  return _REPLACED[text], 1


def _rule(make: Make, *tokens: str, ahead: str = '') -> Rule:
  return Rule(tuple(re.compile(f'({token}){ahead}') for token in tokens), make)


@functools.cache
def rules() -> Sequence[Rule]:
  """Returns the rules, most important first."""
  letters = _class_of(lambda c: unicodedata.category(c).startswith('L'))
  capitals = _class_of(str.isupper)
  entity = '&[aeiouAEIOU](?i:acute|grave|uml);'
  letter = f'(?:[{letters}{_ranges(_MARKS)}]|{entity})'
  word_part = f'(?:[{letters}{_ranges(_MARKS)}\\d]|{entity})'
  word = f'{letter}{word_part}*(?:[.!?]{letter}{word_part}*)*'
  file_name = f'{word_part}+(?:[.]{word_part}+)*'
  return (
    *_words(letters, word),
    *_addresses(letter),
    *_numbers(),
    *_abbreviations(capitals),
    _rule(_keep, f'{file_name}[.]{_any_of(_EXTENSIONS)}', ahead=f'(?:{_BLANK}|[.?!,])'),
    _rule(_without_soft_hyphens, f'{word}\\.', ahead='[,;:\u3001]'),
    *_phones(),
    *_signs(),
    *_compounds(letters),
    *_quotes(),
    _rule(_keep, f'[{_ranges(_SIGNS)}]'),
    _rule(_drop, '(?i:&nbsp;)'),
  )  # fmt: skip


def _words(letters, word):
  """Returns the rules for words, tags and contractions."""
  a, q = _APOSTROPHE, _ANY_APOSTROPHE
  return (
    _rule(_keep, '[cC]\\+\\+', '[cCfF]#'),
    _rule(_without_last(3), '(?i:cannot)', "(?i:'twas)"),
    _rule(_without_last(2), "(?i:'tis)", '(?i:gonna|gotta|lemme|gimme|wanna)'),
    _rule(_with_hard_spaces, *_TAGS),
    _rule(_becomes('--'), '(?i:&(?:MD|mdash|ndash);)'),
    _rule(_ampersand, _AMPERSAND),
    _rule(_keep, '(?i:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq);)', '&#[0-9]+;'),
    _rule(_without_soft_hyphens, word, ahead=_CLITIC),
    _rule(_without_soft_hyphens, '[A-Za-z\xad]*[A-MO-Za-mo-z]\xad*', ahead=_NOT),
    _rule(_without_soft_hyphens, word),
    _rule(
      _keep,
      f'{a}[nN]{a}?',
      f'[lLdDjJ]{a}',
      f'(?i:Dunkin|somethin|ol){a}',
      f'{a}(?i:em|cause|till?)',
      f'[A-HJ-XZn]{q}[{letters}]{{2,}}',
      f'{a}[2-9]0[sS]',
      f'[{letters}]+[aeiouyAEIOUY]{q}[aeiouA-Z][{letters}]*',
      "(?i:cont'd\\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)",
      f'[oO]{q}[oO]',
    ),
    _rule(_keep, f'[yY]{a}', ahead=f'[{letters}]'),
  )  # fmt: skip


def _addresses(letter):
  """Returns the rules for addresses on the web and in social networks."""
  path = '/[^ \t\n\f\r"<>|()]+[^ \t\n\f\r"<>|.!?(){},-]'
  hosts = (
    '(?i:www)\\.(?:[^ \t\n\f\r"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}',
    '(?:[^ \t\n\f\r"`\'<>|.!?(){},-_$]+\\.)+(?i:com|net|org|edu)',
  )
  lazy_hosts = (host.replace(')+', ')+?') for host in hosts)
  return (
    _rule(_keep, '(?i:https?)://[^ \t\n\f\r"<>|(){}]+[^ \t\n\f\r"<>|.!?(){},-]'),
    # A host may contain a slash; the shortest one leaves the most to the path.
    _rule(_keep, *(host + path for host in lazy_hosts), *hosts),
    _rule(
      _keep,
      '(?:(?i:&lt;)|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\xa0{}]*@(?:[^ \t\n\f\r"<>|(){}.\xa0]+\\.)*'
      '[^ \t\n\f\r"<>|(){}.\xa0]+(?:(?i:&gt;)|>)?',
    ),
    _rule(_keep, '@[a-zA-Z_][a-zA-Z_0-9]*', f'#{letter}+'),
    _rule(_right_quote, _CLITIC, _NOT, ahead='[^A-Za-z]'),
  )  # fmt: skip


def _numbers():
  """Returns the rules for numbers, fractions and sums of money."""
  sign = '[\u207a\u207b\u208a\u208b]'
  part = '[.:,\xad\u066b\u066c]\\d+'
  return (
    _rule(_keep, '\\d{1,2}[-/]\\d{1,2}[-/]\\d{2,4}'),
    _rule(_without_soft_hyphens, f'[-+]?(?:\\d+(?:{part})*|(?:{part})+)'),
    _rule(_keep, f'{sign}?[\u2070\xb9\xb2\xb3\u2074-\u2079]+', f'{sign}?[\u2080-\u2089]+'),
    _rule(_with_hard_spaces, '(?:\\d{1,4}[- \xa0])?\\d{1,4}(?:\\\\?/|\u2044)\\d{1,4}'),
    _rule(
      _ampersand,
      '(?i:-[RL][RCS]B-)',
      '(?i:C\\.D\\.s|pro-|anti-)',
      f'(?i:S(?:&|{_AMPERSAND})(?:P-500|Ls))',
      f'(?i:Cap){_APOSTROPHE}[nN]|[cC]{_APOSTROPHE}(?i:est)',
    ),
    _rule(_keep, '[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}'),
    _rule(_keep, '[A-Z]*\\$', '#'),
    _rule(_replaced, f'[{re.escape("".join(_REPLACED))}]'),
  )  # fmt: skip


_LETTERS_WITH_PERIODS = '[A-Za-z](?:\\.[A-Za-z])*'
_COUNTRIES = (
  '(?i:(?:Canada|Sino|Korean|EU|Japan|non)-U\\.S)',
  '(?i:U\\.S\\.-(?:U\\.S\\.S\\.R|U\\.K))',
)


def _abbreviations(capitals):
  """Returns the rules for abbreviations with periods."""
  tag = '|'.join(_TAGS)
  sentence = f'{_BLANK}+(?:{_any_of(_BEGINNINGS, capital=True)}|{tag}){_BLANK}'
  acronyms = (*_COUNTRIES, _LETTERS_WITH_PERIODS)
  may_end = f'(?:{_any_of(_MAY_END)}|{_any_of(_MAY_END_CAPITAL, capital=True)})\\.'
  never_ends = f'(?:{_any_of(_NEVER_ENDS)}|{_any_of("Miss", capital=True)})'
  return (
    _rule(_acronym_before_sentence, *(f'{name}\\.' for name in acronyms), ahead=sentence),
    _rule(_keep, f'{_any_of(_BEFORE_NUMBERS)}\\.', ahead=f'{_BLANK}?\\d'),
    _rule(_keep, '(?:(?i:pt)[eyEY]|(?i:co))\\.', ahead=f'{_SPACE}(?i:ltd|lim)'),
    _rule(_with_period_again, may_end, ahead=f'{_BLANK}(?:{_BLANK}|[{capitals}]|{tag})'),
    _rule(_keep, may_end, ahead='[\\s\\S]{2}'),
    _rule(_with_period_again, may_end),
    _rule(_keep, f'{never_ends}\\.', *(f'{name}\\.' for name in acronyms)),
    _rule(_keep, *acronyms, ahead=_BLANK),
    _rule(_keep, f'{_APOSTROPHE}[0-9][0-9]', ahead=_BLANK),
  )  # fmt: skip


def _phones():
  """Returns the rule for telephone numbers."""
  number = '[0-9]{3,4}[- \xa0]?[0-9]{3,5}'
  area = '[0-9]{2,4}[- \xa0]'
  dotted = '[0-9]{2,4}\\.[0-9]{3,4}\\.[0-9]{3,5}'
  return (
    _rule(
      _brackets,
      f'\\([0-9]{{2,3}}\\)[ \xa0]?{number}',
      f'(?:\\+\\+?)?{area}{area}{number}',
      f'(?:\\+\\+?)?{area}{number}',
      f'(?:\\+\\+?)?[0-9]{{2,4}}\\.{dotted}',
      dotted,
    ),
  )  # fmt: skip


def _signs():
  """Returns the rules for punctuation that is not a quote, and for smileys."""
  eye, hand = "[-^x=~<>']", "[\\^x=~<>']"
  return (
    _rule(_left_quote, '"|(?i:&quot;)', ahead='[A-Za-z0-9$]'),
    _rule(_right_quote, '"|(?i:&quot;)'),
    _rule(_becomes('<'), '<|(?i:&lt;)'),
    _rule(_becomes('>'), '>|(?i:&gt;)'),
    _rule(_brackets, "[<>]?[:;=][-o*']?[()DPdpO\\\\{@|\\[\\]]", ahead='[^A-Za-z0-9]'),
    _rule(_brackets, f'{eye}_{eye}', f'\\({eye}[_.]?{eye}\\)', f"\\({hand}-[\\^x=~<>'`]\\)"),
    _rule(_dashes, '-+'),
    _rule(_becomes('...'), '\\.{3,5}', '(?:\\.[ \xa0]){2,4}\\.'),
    _rule(_keep, '@+', '#+', '_+', '\\*+', '(?:\\\\\\*){1,3}', '[?!]+', '<<|>>'),
  )  # fmt: skip


def _compounds(letters):
  """Returns the rules for words and numbers that hyphens or ampersands join."""
  clause = '[,;:\u3001]'
  joined = f'(?:[dDoOlL]{_ANY_APOSTROPHE}[{letters}\\d])?[{letters}\\d]+'
  things = f'{joined}(?:[-_\u058a\u2010\u2011]{joined})*'
  acronym = '|'.join((*_COUNTRIES, '[A-Za-z](?:\\.[A-Za-z])+'))
  hyphenated = f'[A-Za-z0-9][A-Za-z0-9.,\xad]*(?:-(?:(?:{acronym})\\.|[A-Za-z0-9\xad]+))+'
  companies = f'[A-Z]+(?:(?:[+&]|{_AMPERSAND})[A-Z]+)+'
  return (
    _rule(_without_soft_hyphens, f'{hyphenated}\\.', ahead=clause),
    _rule(_without_soft_hyphens, hyphenated),
    _rule(_keep, f'{things}\\.', ahead=clause),
    _rule(_keep, things),
    _rule(_ampersand, f'{companies}\\.', ahead=clause),
    _rule(_ampersand, companies),
  )  # fmt: skip


def _quotes():
  """Returns the rules for quotes."""
  return (
    _rule(_left_quote, "'", ahead='[A-Za-z][^ \t\n\r\xa0]'),
    _rule(_right_quote, _CLITIC, _NOT, _APOSTROPHE, "''", f'{_QUOTES}{{1,2}}'),
  )  # fmt: skip
