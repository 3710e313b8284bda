"""The result of a run: the record's schema, the host's environment, the store.

Import from the submodules: `pibench.records.schema`, `.environment`, `.store`.
"""
