/* The kernels in double precision. */
#define ASV_DOUBLE 1
#include "kernels/all.inc"
