/* From a tile of accumulators to codes in memory. */
#ifndef FQVIT_EPILOGUE_H
#define FQVIT_EPILOGUE_H
#include "params.h"

/* y: the tile, accumulators on entry and codes on return. */
APART void requantize_tile(int32_t *restrict y, const double *restrict scale, const requantize_t *r)
{
    const double zero = r->zero, low = r->low, high = r->high;
    for (int i = 0; i < TILE_ROWS; i++, y += TILE_COLUMNS)
#pragma omp simd
        for (int j = 0; j < TILE_COLUMNS; j++)
            y[j] = (int32_t)requantized(y[j], scale[j], zero, low, high);
}

APART void store_tile(const int32_t *restrict y, long rows, long n, int8_t *restrict out,
                      long width, long stride)
{
    for (long i = 0; i < rows; i++, y += TILE_COLUMNS)
        if (n == TILE_COLUMNS)
            store_codes(out, width, i * stride, TILE_COLUMNS, y);
        else
            store_codes(out, width, i * stride, n, y);
}
#endif
