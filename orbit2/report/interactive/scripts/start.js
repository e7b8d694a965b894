contents();
theme();
tables();
regions();
dates();
members();
enlarge();
missing();
