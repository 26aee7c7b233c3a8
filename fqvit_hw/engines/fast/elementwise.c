/* LayerNorm, residual add, GELU and requantize on tensors in memory, row by row. */
#include "residual.h"

/* floor(sqrt(v)) of 0 < v < 2^52. The correctly rounded double root never reaches the next integer
 * r + 1 <= 2^26 from below: sqrt((r+1)^2 - 1) < (r+1) - 1 / (2 (r+1)), and 2^-27 is more than the
 * 2^-28 that rounding below 2^26 can move it. */
static inline int64_t integer_root(int64_t v)
{
    return (int64_t)sqrt((double)v);
}

static inline int bit_length(int64_t v)
{
    return v ? 64 - __builtin_clzll((unsigned long long)v) : 0;
}

/* One token; X: its C inputs without zero point, times 2^a; y: its codes. Sums of X and X^2 are
 * integers below 2^42 and exact in double in any order; D * R has 45 bits, D * R * 2^-shift + 1/2
 * with shift <= 26 is a multiple of 2^-27 below 2^22; T * G * 2^-(g+16) + B * 2^-10 + 1/2 is a
 * multiple of 2^-31 below 2^15. */
static void layernorm_row(double *X, const layernorm_t *p, int32_t *y)
{
    const long C = p->channels;
    const double *factor = p->factor, *gamma = p->gamma, *beta = p->beta;
    const double zero = p->zero, zero_out = p->zero_out;
    double total = 0, sumsq = 0;
#pragma omp simd reduction(+ : total, sumsq)
    for (long c = 0; c < C; c++) {
        X[c] = (X[c] - zero) * factor[c];
        total += X[c];
        sumsq += X[c] * X[c];
    }
    const int64_t sum = (int64_t)total;
    const int64_t V = C * (int64_t)sumsq - sum * sum + p->eps;
    double R = 0; /* R * 2^-(17 + e), 0 for V = 0 */
    if (V > 0) {
        const int e = (bit_length(V) + 1) / 2 - 18;
        const int64_t normalized = e < 0 ? V << (-2 * e) : V >> (2 * e);
        R = ldexp((double)((INT64_C(1) << 33) / integer_root(normalized)), -(17 + e));
    }
    for (long c = 0; c < C; c++) {
        const double T = floor((C * X[c] - total) * R + 0.5);
        y[c] = (int32_t)clamp(floor(T * gamma[c] + beta[c] + 0.5) + zero_out, -128, 127);
    }
}

int fqvit_layernorm(const void *x, int64_t rows, const layernorm_t *p, int8_t *out, int threads)
{
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        double *X = scratch(p->channels * sizeof *X);
        int32_t *y = scratch(p->channels * sizeof *y);
        failed = !X || !y;
#pragma omp for schedule(dynamic, 32)
        for (int64_t i = 0; i < rows; i++) {
            if (!X || !y)
                continue;
            load_codes(x, p->width, i * p->channels, p->channels, X);
            layernorm_row(X, p, y);
            store_codes(out, 8, i * p->channels, p->channels, y);
        }
        free(X);
        free(y);
    }
    return failed;
}

int fqvit_residual(const void *x, const void *y, int64_t rows, const residual_t *p, void *out,
                   int threads)
{
    const long C = p->channels;
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        double *X = scratch(C * sizeof *X), *Y = scratch(C * sizeof *Y);
        int32_t *sum = scratch(C * sizeof *sum);
        failed = !X || !Y || !sum;
#pragma omp for schedule(dynamic, 32)
        for (int64_t i = 0; i < rows; i++) {
            if (!X || !Y || !sum)
                continue;
            load_codes(x, p->x_width, i * C, C, X);
            load_codes(y, p->y_width, i * C, C, Y);
            for (long c = 0; c < C; c++)
                sum[c] = (int32_t)residual_sum(X[c], Y[c], c, p);
            store_codes(out, p->width, i * C, C, sum);
        }
        free(X);
        free(Y);
        free(sum);
    }
    return failed;
}

/* acc: int32 (rows, channels) -> codes of p->width bits. */
int fqvit_requantize(const int32_t *acc, int64_t rows, int64_t channels, const requantize_t *p,
                     void *out, int threads)
{
    const double zero = p->zero, low = p->low, high = p->high;
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        int32_t *y = scratch(channels * sizeof *y);
        failed = !y;
#pragma omp for schedule(dynamic, 32)
        for (int64_t i = 0; i < rows; i++) {
            if (!y)
                continue;
            for (long c = 0; c < channels; c++)
                y[c] = (int32_t)requantized(acc[i * channels + c], p->scale[c], zero, low, high);
            store_codes(out, p->width, i * channels, channels, y);
        }
        free(y);
    }
    return failed;
}

/* table: GELU of every int16, from -2^15 on. */
int fqvit_gelu(const int16_t *x, int64_t n, const int8_t *table, int8_t *out, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        out[i] = table[x[i] + (1 << 15)];
    return 0;
}
