"""The tables of an experiment: one module a table, listed here. ``write_tables`` writes them.

The page and the workflow's dry run read the list, so nothing is imported here.
"""

TABLES = {
    "verdicts": "Published numbers and ours",
    "claims": "Claims of the papers",
    "acr": "Average certified radius (ACR)",
    "certified_accuracy": "Certified accuracy",
    "empirical": "Certified and empirical accuracy",
    "best": "Best certified accuracy at each radius",
    "abstention": "Abstention",
    "significance": "Differences between methods",
    "sweeps": "Sweeps of settings",
    "cost": "Cost",
    "runs": "Every run",
}
"""Name and title, in the order of the report; the name is that of the module and of the files."""
