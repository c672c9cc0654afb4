"""Facts: validated, typed objects, and the store that holds the newest version of each object."""
