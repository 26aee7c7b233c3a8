/* A Linear and what follows it in the same tile: requantize, and maybe GELU or residual add. */
#include "epilogue.h"
#include "residual.h"

/* What becomes of a layer's codes; outputs that are NULL are not written. */
typedef struct {
    void *out;             /* the result */
    int32_t *acc;          /* the accumulators, for traces */
    const int8_t *gelu;    /* GELU of every int16, from -2^15 on, or NULL */
    const residual_t *add; /* the residual add, or NULL */
    const void *stream;    /* its x */
} epilogue_t;

#define BLOCK_ROWS 48 /* a multiple of every TILE_ROWS */

/* The steps of an epilogue, each over a whole tile: y holds its codes, n columns of it count. */

APART void gelu_tile(const int32_t *restrict y, long rows, long n, const int8_t *restrict table,
                     int8_t *restrict out, long stride)
{
    table += 1 << 15;
    for (long i = 0; i < rows; i++, y += TILE_COLUMNS, out += stride)
        if (n == TILE_COLUMNS)
#pragma GCC unroll 16
            for (int j = 0; j < TILE_COLUMNS; j++)
                out[j] = table[y[j]];
        else
            for (long j = 0; j < n; j++)
                out[j] = table[y[j]];
}

/* requantize_tile and the residual add in one: the codes in between need no integer form. */
APART void residual_tile(int32_t *restrict y, long rows, long n, const double *restrict scale,
                         const requantize_t *r, const epilogue_t *e, long at, long column)
{
    const double zero = r->zero, low = r->low, high = r->high;
    const residual_t *p = e->add;
    double x[TILE_COLUMNS] = {0};
    for (long i = 0; i < rows; i++, y += TILE_COLUMNS, at += p->channels) {
        if (n == TILE_COLUMNS)
            load_codes(e->stream, p->x_width, at, TILE_COLUMNS, x);
        else
            load_codes(e->stream, p->x_width, at, n, x);
#pragma omp simd
        for (int j = 0; j < TILE_COLUMNS; j++) {
            const double code = requantized(y[j], scale[j], zero, low, high);
            y[j] = (int32_t)residual_sum(x[j], code, column + j, p);
        }
    }
}

static void finish_tile(int32_t *tile, long row, long rows, long column, const linear_t *p,
                        const requantize_t *r, const epilogue_t *e)
{
    const long n = p->outputs - column < TILE_COLUMNS ? p->outputs - column : TILE_COLUMNS;
    const long at = row * p->outputs + column;
    const long width = e->add ? e->add->width : r->width;
    if (e->acc)
        for (long i = 0; i < rows; i++)
            memcpy(e->acc + at + i * p->outputs, tile + i * TILE_COLUMNS, n * sizeof *tile);
    if (e->add)
        residual_tile(tile, rows, n, r->scale + column, r, e, at, column);
    else
        requantize_tile(tile, r->scale + column, r);
    if (e->gelu) {
        gelu_tile(tile, rows, n, e->gelu, (int8_t *)e->out + at, p->outputs);
        return;
    }
    store_tile(tile, rows, n, (int8_t *)e->out + at * (width / 8), width, p->outputs);
}

/* x: int8 (rows, inputs) -> e->out (rows, outputs). Returns 0, or 1 without memory.
 *
 * A task is BLOCK_ROWS rows, their int8 codes widened once, times a share of the panels: each panel
 * stays in the first cache while the block's rows pass by. */
int fqvit_linear(const int8_t *x, int64_t rows, const linear_t *p, const requantize_t *r,
                 const epilogue_t *e, int threads)
{
    const long pairs = (p->inputs + 1) / 2, stride = 2 * pairs;
    const long panels = (p->outputs + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const long blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    long shares = 1; /* few rows: the threads share the outputs */
    while (shares < panels && blocks * shares < 8 * threads && threads > 1)
        shares++;
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        int16_t *a = scratch(BLOCK_ROWS * stride * sizeof *a);
        failed = !a;
#pragma omp for schedule(dynamic)
        for (long task = 0; task < blocks * shares; task++) {
            if (!a)
                continue;
            const long row = task / shares * BLOCK_ROWS, share = task % shares;
            const long n = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
            for (long i = 0; i < n; i++) {
                const int8_t *from = x + (row + i) * p->inputs;
                int16_t *to = a + i * stride;
                for (long k = 0; k < p->inputs; k++)
                    to[k] = from[k];
                if (p->inputs < stride)
                    to[p->inputs] = 0;
            }
            /* rows of the last tile beyond n: computed and not stored */
            if (n % TILE_ROWS)
                memset(a + n * stride, 0, (round_up(n, TILE_ROWS) - n) * stride * sizeof *a);
            for (long c = panels * share / shares; c < panels * (share + 1) / shares; c++)
                for (long i = 0; i < n; i += TILE_ROWS) {
                    int32_t tile[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
                    multiply_tile(pairs, a + i * stride, stride,
                                  p->panels + c * stride * TILE_COLUMNS, p->bias + c * TILE_COLUMNS,
                                  tile);
                    finish_tile(tile, row + i, n - i < TILE_ROWS ? n - i : TILE_ROWS,
                                c * TILE_COLUMNS, p, r, e);
                }
        }
        free(a);
    }
    return failed;
}
