#define ASV_DOUBLE 1
#include "carved.h"

#include "float64.c"
