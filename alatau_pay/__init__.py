"""How the rooms are put together: settings, workers, addresses, engines and the devnet."""
