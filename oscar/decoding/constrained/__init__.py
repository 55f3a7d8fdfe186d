"""Constrained beam search: captions that mention the objects that a detector found.

    names = filter.constraints(nocaps.constraint_boxes(image_id), hierarchy)
    machines = machine.stack([machine.build([words.pieces(name) for name in names]), ...])
    found = search.generate(model, batch, machines, config)

`filter` chooses the classes, `machine` follows which of them a caption mentions, `search` writes
the captions.
"""
