"""A leaderboard of the models of many runs."""
