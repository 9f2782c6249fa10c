"""The database: one file per noun holds its tables and its functions `fn(conn, ...)`."""
