"""Reports: runs -> tables -> figures -> one page. Everything from stored data."""
