"""Scenes painted on white paper, as a user may have them, in place of the scenes' black canvas."""

import dataclasses

from oscar.scenes import canvas, graph


def painted(scene, inks, monkeypatch):
  """Returns the picture of a scene with the same things on white."""
  white = (255, 255, 255)
  theme = dataclasses.replace(scene.theme, background=white)
  things = [dataclasses.replace(thing, theme=theme) for thing in scene.things]
  with monkeypatch.context() as patched:
    patched.setattr(graph, 'BACKGROUND', white)
    return canvas.paint(dataclasses.replace(scene, things=tuple(things)), inks)
