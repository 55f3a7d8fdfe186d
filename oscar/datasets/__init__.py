"""The official data sets of OSCAR: a reader for each layout, and TFDS builders on top of them.

The readers (`vqa.Vqa`, `gqa.Gqa`, `nlvr2.Nlvr2`, `coco_caption.CocoCaption`, `nocaps.NoCaps`,
`coco_retrieval.CocoRetrieval`, `pretrain_corpus.PretrainCorpus`) hold texts in memory and read
regions on demand; they need no TensorFlow. `builders` writes their records as TFRecord shards.
"""
