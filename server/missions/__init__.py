"""The rules of missions: one lifecycle table and one pure pair decide/evolve for each kind."""
