/* The kernels in single precision. */
#define ASV_DOUBLE 0
#include "kernels/all.inc"
