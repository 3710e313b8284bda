"""What a run leaves behind: the record's schema, the host's environment, the store.

Import from the submodules: `pibench.records.schema`, `.environment`, `.store`.
"""
