"""Plans to one nftables table a family: few chains and maps, and elements for each Service."""
