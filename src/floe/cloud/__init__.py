"""What the cloud does: rules, rows and actions in one transaction; one file per noun."""
