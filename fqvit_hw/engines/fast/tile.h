/* The matrix kernel: one tile of TILE_ROWS x TILE_COLUMNS int32 accumulators, kept in registers.
 *
 * Both operands are int16, two neighbours of the summed dimension side by side (a "pair"): one
 * instruction multiplies and adds both. int8 codes, uint8 codes and BitShift weights up to 2^14 are
 * all int16, so that every product of the network is this one.
 *
 *   a       row-major, `stride` int16 apart, padded with zeros to whole pairs
 *   panel   `pairs` times TILE_COLUMNS pairs: one pair of the summed dimension for every column
 *
 * Exact: sums stay below 2^31 in magnitude whatever the order, as the network proves on loading.
 */
#ifndef FQVIT_TILE_H
#define FQVIT_TILE_H
#include "lanes.h"

typedef int32_t pair_bits __attribute__((may_alias, aligned(2)));

/* start: the first value of each column. */
APART void multiply_tile(long pairs, const int16_t *restrict a, long stride,
                         const int16_t *restrict panel, const int32_t *restrict start,
                         int32_t *restrict tile)
{
    lanes sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = LOAD(start + v * VL);
    for (long k = 0; k < pairs; k++) {
        lanes b[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; v++)
            b[v] = LOAD(panel + 2 * (k * TILE_COLUMNS + v * VL));
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++) {
            lanes pair = SPREAD(*(const pair_bits *)(a + r * stride + 2 * k));
#pragma GCC unroll 4
            for (int v = 0; v < TILE_VECTORS; v++)
                sum[r][v] = ADD_PAIRS(sum[r][v], pair, b[v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; v++)
            STORE(tile + r * TILE_COLUMNS + v * VL, sum[r][v]);
}
#endif
