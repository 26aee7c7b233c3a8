/* The residual add of one value: see units/residual.py. */
#ifndef FQVIT_RESIDUAL_H
#define FQVIT_RESIDUAL_H
#include "params.h"

/* x, y: codes as doubles. Exact: the sum of products has 34 bits and is scaled by 2^-(N + b), N + b
 * in 0..43, so that the sum with 1/2 is a multiple of 2^-44 with at most 45 bits. */
static inline double residual_sum(double x, double y, long channel, const residual_t *p)
{
    double sum = (x - p->x_zero) * p->x_scale[channel] + (y - p->y_zero) * p->y_scale;
    return clamp(floor(sum * p->scale[channel] + 0.5) + p->zero, p->low, p->high);
}
#endif
