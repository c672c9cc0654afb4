"""Plans to one nftables table a family: few chains and maps, and a Service as elements of these."""
