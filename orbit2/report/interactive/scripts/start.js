contents();
theme();
tables();
regions();
dates();
enlarge();
missing();
