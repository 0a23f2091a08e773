#define ASV_DOUBLE 0
#include "carved.h"

#include "float32.c"
