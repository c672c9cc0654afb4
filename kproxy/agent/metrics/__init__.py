"""The agent's metrics: their series, and collectors that count when somebody asks."""
