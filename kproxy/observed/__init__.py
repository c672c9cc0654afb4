"""The rules of ours that the kernel holds: read, remembered and doubted."""
