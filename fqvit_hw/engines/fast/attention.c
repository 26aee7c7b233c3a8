/* One attention layer: each task is one head of one image or window, from q, k, v to its context.
 *
 * K and V become panels of int16 pairs once per task; then TILE_ROWS queries at a time pass through
 * scores, softmax, attention x V and row normalization, and no N x N tensor is ever in memory.
 */
#include "epilogue.h"

/* Tensors in between, for traces; NULL where nobody asks. H heads, one (N, N) or (N, D) each. */
typedef struct {
    int32_t *score_acc;
    int8_t *score;
    uint8_t *softmax;
    int32_t *context_acc, *reciprocal, *shift, *normalized;
} trace_t;

typedef struct { /* the sizes of a call, and buffers of a thread */
    long N, H, D, score_pairs, context_pairs;
    int16_t *q, *weights, *k_panels, *v_panels;
    int32_t *e, *weight;
    int8_t *scores;
} work_t;

enum { FINE, NO_MEMORY, SCORE_OVERFLOW, MASKED_ROW };

static const int32_t no_bias[TILE_COLUMNS];

/* S: the row's sum, below 2^36. A code is the number of these limits that e does not exceed:
 * 3e <= 2S, 5e < 2S, and e * (3 * 2^c - 1) <= 2S for c = 2..14, divided out (units/softmax.py). */
static void code_limits(int64_t S, int32_t limit[15])
{
    for (int c = 0; c < 15; c++) {
        const int64_t most = c == 0   ? 2 * S / 3
                             : c == 1 ? (2 * S - 1) / 5
                                      : 2 * S / ((INT64_C(3) << c) - 1);
        limit[c] = most < 1 << 24 ? (int32_t)most : 1 << 24; /* e is below 2^24 */
    }
}

/* x: n scores; mask: n flags or NULL -> attention x V weights: the values of the codes. `codes`
 * may be NULL. Returns the sum of the weights, or 0 if every pair is masked. */
APART int32_t softmax_row(const int8_t *x, const uint8_t *mask, long n, const attention_t *p,
                          int32_t *restrict e, int32_t *restrict w, int16_t *restrict weights,
                          uint8_t *codes)
{
    const int32_t *table = p->table;
    int8_t highest = -128;
    const int32_t masked = p->mode == OF_MAXIMUM ? (int32_t)p->zero_code : 0;
    int64_t S = 0, pairs = n;
    if (mask) {
        pairs = 0;
        for (long j = 0; j < n; j++) {
            pairs += !mask[j];
            if (!mask[j] && x[j] > highest)
                highest = x[j];
        }
        for (long j = 0; j < n; j++)
            S += e[j] = mask[j] ? masked : table[(uint8_t)(highest - x[j])];
    } else {
#pragma omp simd reduction(max : highest)
        for (long j = 0; j < n; j++)
            highest = x[j] > highest ? x[j] : highest;
        for (long j = 0; j < n; j++)
            S += e[j] = table[(uint8_t)(highest - x[j])];
    }
    if (pairs == 0)
        return 0;
    int32_t W = 0;
    if (p->mode == OF_MAXIMUM) {
        for (long j = 0; j < n; j++)
            w[j] = p->values[e[j]];
    } else if (p->mode == UNIFORM8) {
        /* floor of a double quotient: n / d of integers below 2^37 is either an integer, and then
         * exact, or at least 2^-37 below the next, more than the 2^-46 of rounding below 2^8 */
        const double sum = (double)S;
        for (long j = 0; j < n; j++)
            w[j] = (int32_t)((510.0 * e[j] + sum) / (2 * sum));
    } else {
        int32_t limit[15];
        code_limits(S, limit);
        for (long j = 0; j < n; j++) {
            int32_t code = 15;
#pragma GCC unroll 15
            for (int c = 0; c < 15; c++)
                code -= e[j] > limit[c];
            w[j] = (1 << 14) >> code; /* 0 for code 15 */
        }
    }
    for (long j = 0; j < n; j++)
        W += w[j];
    for (long j = 0; j < n; j++)
        weights[j] = (int16_t)w[j];
    if (codes)
        for (long j = 0; j < n; j++) /* lis4: the code of 2^(14 - code), 15 for 0 */
            codes[j] = p->mode == OF_MAXIMUM ? e[j]
                       : p->mode == UNIFORM8 ? w[j]
                       : w[j]                ? __builtin_clz(w[j]) - 17
                                             : 15;
    return W ? W : 1;
}

/* k: int8 rows of D, `stride` apart -> panels of TILE_COLUMNS tokens, pairs along D. */
APART void pack_keys(const int8_t *k, long stride, work_t *w)
{
    const long panels = round_up(w->N, TILE_COLUMNS) / TILE_COLUMNS;
    memset(w->k_panels, 0, panels * w->score_pairs * 2 * TILE_COLUMNS * sizeof(int16_t));
    for (long j = 0; j < w->N; j++) {
        const int8_t *row = k + j * stride;
        const long panel = j / TILE_COLUMNS * w->score_pairs;
        int16_t *to = w->k_panels + (panel * TILE_COLUMNS + j % TILE_COLUMNS) * 2;
        for (long d = 0; d + 1 < w->D; d += 2, to += 2 * TILE_COLUMNS) {
            to[0] = row[d];
            to[1] = row[d + 1];
        }
        if (w->D % 2)
            to[0] = row[w->D - 1];
    }
}

/* v: int8 rows of D -> panels of TILE_COLUMNS channels, pairs along the tokens. */
APART void pack_values(const int8_t *v, long stride, work_t *w)
{
    const long panels = round_up(w->D, TILE_COLUMNS) / TILE_COLUMNS;
    memset(w->v_panels, 0, panels * w->context_pairs * 2 * TILE_COLUMNS * sizeof(int16_t));
    for (long c = 0; c < panels; c++) {
        const long first = c * TILE_COLUMNS;
        const long n = w->D - first < TILE_COLUMNS ? w->D - first : TILE_COLUMNS;
        for (long j = 0; j < w->N; j++) {
            int16_t *to = w->v_panels + (c * w->context_pairs + j / 2) * 2 * TILE_COLUMNS + j % 2;
            for (long d = 0; d < n; d++)
                to[2 * d] = v[j * stride + first + d];
        }
    }
}

/* Returns a negative number if a sum leaves int32: both operands then have another sign than it. */
static int32_t add_bias(int32_t *restrict acc, const int32_t *restrict bias, long n)
{
    int32_t bad = 0;
    for (long j = 0; j < n; j++) {
        const int32_t sum = (int32_t)((uint32_t)acc[j] + (uint32_t)bias[j]);
        bad |= (acc[j] ^ sum) & (bias[j] ^ sum);
        acc[j] = sum;
    }
    return bad;
}

/* rshift_round(acc * reciprocal, shift), scale = reciprocal * 2^-shift: 28 bits times 17 bits, exact.
 */
static void normalize_row(int32_t *restrict acc, double scale)
{
#pragma omp simd
    for (int j = 0; j < TILE_COLUMNS; j++)
        acc[j] = (int32_t)floor(acc[j] * scale + 0.5);
}

/* Scores of queries first .. first + rows - 1, int8, into w->scores. */
APART int score_rows(long first, long rows, const int32_t *bias, const attention_t *p, work_t *w,
                     int32_t *score_acc)
{
    const long row_stride = round_up(w->N, TILE_COLUMNS);
    int32_t bad = 0;
    for (long c = 0; c * TILE_COLUMNS < w->N; c++) {
        int32_t tile[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
        const long column = c * TILE_COLUMNS;
        const long n = w->N - column < TILE_COLUMNS ? w->N - column : TILE_COLUMNS;
        multiply_tile(w->score_pairs, w->q, 2 * w->score_pairs,
                      w->k_panels + c * w->score_pairs * 2 * TILE_COLUMNS, no_bias, tile);
        for (long i = 0; i < rows && bias; i++)
            bad |= add_bias(tile + i * TILE_COLUMNS, bias + (first + i) * w->N + column, n);
        for (long i = 0; i < rows && score_acc; i++)
            memcpy(score_acc + (first + i) * w->N + column, tile + i * TILE_COLUMNS,
                   n * sizeof *tile);
        requantize_tile(tile, p->score->scale, p->score);
        store_tile(tile, TILE_ROWS, TILE_COLUMNS, w->scores + column, 8, row_stride);
    }
    return bad < 0 ? SCORE_OVERFLOW : FINE;
}

/* Context of one head. qkv: the first q of the head; out: its first context. */
static int attend(const int8_t *qkv, int8_t *out, const int32_t *bias, const uint8_t *mask,
                  const attention_t *p, work_t *w, trace_t t)
{
    const long N = w->N, D = w->D, width = w->H * D, stride = 3 * width;
    const long row_stride = round_up(N, TILE_COLUMNS), weight_stride = 2 * w->context_pairs;
    pack_keys(qkv + width, stride, w);
    pack_values(qkv + 2 * width, stride, w);
    for (long first = 0; first < N; first += TILE_ROWS) {
        const long rows = N - first < TILE_ROWS ? N - first : TILE_ROWS;
        double scale[TILE_ROWS]; /* of the row normalization: reciprocal * 2^-shift */
        for (long i = 0; i < rows; i++)
            for (long d = 0; d < D; d++)
                w->q[i * 2 * w->score_pairs + d] = qkv[(first + i) * stride + d];
        const int failed = score_rows(first, rows, bias, p, w, t.score_acc);
        if (failed)
            return failed;
        for (long i = 0; i < rows; i++) {
            const int8_t *x = w->scores + i * row_stride;
            const long at = (first + i) * N;
            if (t.score)
                memcpy(t.score + at, x, N);
            const int32_t W =
                softmax_row(x, mask ? mask + at : NULL, N, p, w->e, w->weight,
                            w->weights + i * weight_stride, t.softmax ? t.softmax + at : NULL);
            if (!W)
                return MASKED_ROW;
            /* units/softmax.py: 2^(L + 15) / W, at most 2^16; W has L bits, or is about 2^14 */
            const int L = p->mode == OF_MAXIMUM ? 32 - __builtin_clz(W) : 14;
            const int32_t reciprocal = (int32_t)((INT64_C(1) << (L + 15)) / W);
            scale[i] = ldexp(reciprocal, -(L + 1));
            if (t.reciprocal) {
                t.reciprocal[first + i] = reciprocal;
                t.shift[first + i] = L + 1;
            }
        }
        for (long column = 0; column < D; column += TILE_COLUMNS) {
            int32_t tile[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
            const long n = D - column < TILE_COLUMNS ? D - column : TILE_COLUMNS;
            multiply_tile(w->context_pairs, w->weights, weight_stride,
                          w->v_panels + column * weight_stride, no_bias, tile);
            for (long i = 0; i < rows && t.context_acc; i++)
                memcpy(t.context_acc + (first + i) * D + column, tile + i * TILE_COLUMNS,
                       n * sizeof *tile);
            for (long i = 0; i < rows && p->row_norm; i++)
                normalize_row(tile + i * TILE_COLUMNS, scale[i]);
            for (long i = 0; i < rows && t.normalized; i++)
                memcpy(t.normalized + (first + i) * D + column, tile + i * TILE_COLUMNS,
                       n * sizeof *tile);
            requantize_tile(tile, p->context->scale, p->context);
            store_tile(tile, rows, n, out + first * width + column, 8, width);
        }
    }
    return FINE;
}

static int has_buffers(work_t *w)
{
    const long columns = round_up(w->N, TILE_COLUMNS);
    w->q = scratch(TILE_ROWS * 2 * w->score_pairs * sizeof *w->q);
    w->weights = scratch(TILE_ROWS * 2 * w->context_pairs * sizeof *w->weights);
    w->k_panels = scratch(columns * 2 * w->score_pairs * sizeof *w->k_panels);
    w->v_panels = scratch(round_up(w->D, TILE_COLUMNS) * 2 * w->context_pairs * sizeof(int16_t));
    w->e = scratch(w->N * sizeof *w->e);
    w->weight = scratch(w->N * sizeof *w->weight);
    w->scores = scratch(TILE_ROWS * columns);
    if (!w->q || !w->weights || !w->k_panels || !w->v_panels || !w->e || !w->weight || !w->scores)
        return 0;
    memset(w->q, 0, TILE_ROWS * 2 * w->score_pairs * sizeof *w->q); /* tails stay 0 */
    memset(w->weights, 0, TILE_ROWS * 2 * w->context_pairs * sizeof *w->weights);
    return 1;
}

static void free_buffers(work_t *w)
{
    free(w->q), free(w->weights), free(w->k_panels), free(w->v_panels);
    free(w->e), free(w->weight), free(w->scores);
}

/* qkv: int8 (images, N, 3 * H * D) -> out int8 (images, N, H * D); bias: int32 (H, N, N) or NULL;
 * mask: uint8 (masks, N, N), image i uses mask i % masks, or NULL. Returns one of the enum. */
int fqvit_attention(const int8_t *qkv, int64_t images, int64_t N, int64_t H, int64_t D,
                    const attention_t *p, const int32_t *bias, const uint8_t *mask, int64_t masks,
                    int8_t *out, const trace_t *t, int threads)
{
    int failed = FINE;
#pragma omp parallel num_threads(threads) reduction(max : failed)
    {
        work_t w = {.N = N, .H = H, .D = D};
        w.score_pairs = (D + 1) / 2;
        w.context_pairs = (N + 1) / 2;
        const int ready = has_buffers(&w);
        failed = ready ? FINE : NO_MEMORY;
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < images * H; task++) {
            if (!ready)
                continue;
            const int64_t image = task / H, head = task % H;
            trace_t here = *t;
#define ADVANCE(field, size) here.field = t->field ? t->field + task * (size) : NULL
            ADVANCE(score_acc, N * N);
            ADVANCE(score, N * N);
            ADVANCE(softmax, N * N);
            ADVANCE(context_acc, N * D);
            ADVANCE(reciprocal, N);
            ADVANCE(shift, N);
            ADVANCE(normalized, N * D);
#undef ADVANCE
            const int result =
                attend(qkv + image * N * 3 * H * D + head * D, out + image * N * H * D + head * D,
                       bias ? bias + head * N * N : NULL,
                       mask ? mask + image % masks * N * N : NULL, p, &w, here);
            failed = result > failed ? result : failed;
        }
        free_buffers(&w);
    }
    return failed;
}
