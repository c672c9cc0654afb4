"""Our rules in the kernel: read, remembered and doubted."""
