/* float32.c for x86-64-v4. */
#define ASV_VECTOR 64
#include "simd.h"

#ifdef ASV_HAS_LEVELS
#define ASV_LEVEL _v4
ASV_BEGIN_LEVEL("arch=x86-64-v4")
#include "float32.c"
ASV_END_LEVEL
#endif
