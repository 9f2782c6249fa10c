"""The door that clients come in by: how much may stand on the wire, and for how long."""
