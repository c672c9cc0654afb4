"""A change of a table, as nft reads it."""
