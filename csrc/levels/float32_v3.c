/* float32.c for x86-64-v3. */
#define ASV_VECTOR 32
#include "simd.h"

#ifdef ASV_HAS_LEVELS
#define ASV_LEVEL _v3
ASV_BEGIN_LEVEL("arch=x86-64-v3")
#include "float32.c"
ASV_END_LEVEL
#endif
