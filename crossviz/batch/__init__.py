"""Many photos: a source of photos with captions, block by block through a model, into Parquet and Zarr.

`crossviz batch` is the command, `crossviz.load` reads what it wrote (docs/batch.md). Its packages (pyarrow, zarr) are
an extra, so nothing here is imported before it is needed.
"""
