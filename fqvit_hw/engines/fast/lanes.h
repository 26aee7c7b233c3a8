/* The few vector primitives of the matrix kernel, one block per instruction set.
 *
 * A vector holds VL int32 sums or, as an operand, VL pairs of int16. ADD_PAIRS adds both products
 * of each pair to its sum; TILE_ROWS rows of TILE_VECTORS vectors of sums fill the registers.
 * FQVIT_PORTABLE asks for the last block, FQVIT_LANES for another vector length in it (tests).
 */
#ifndef FQVIT_LANES_H
#define FQVIT_LANES_H
#include <stdint.h>

#if defined(FQVIT_PORTABLE)
#define ISA "portable"
#elif defined(__AVX512BW__)
#include <immintrin.h>
#define VL 16
#define TILE_ROWS 12
typedef __m512i lanes;
#define LOAD(p) _mm512_loadu_si512((const void *)(p))
#define STORE(p, v) _mm512_storeu_si512((void *)(p), v)
#define SPREAD(pair) _mm512_set1_epi32(pair)
#ifdef __AVX512VNNI__
#define ISA "avx512vnni"
#define ADD_PAIRS(sum, a, b) _mm512_dpwssd_epi32(sum, a, b)
#else
#define ISA "avx512bw"
#define ADD_PAIRS(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
#endif

#elif defined(__AVX2__)
#include <immintrin.h>
#define VL 8
#define TILE_ROWS 6
typedef __m256i lanes;
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define SPREAD(pair) _mm256_set1_epi32(pair)
#ifdef __AVXVNNI__
#define ISA "avxvnni"
#define ADD_PAIRS(sum, a, b) _mm256_dpwssd_avx_epi32(sum, a, b)
#else
#define ISA "avx2"
#define ADD_PAIRS(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#endif

#elif defined(__SSE2__)
#include <emmintrin.h>
#define VL 4
#define TILE_ROWS 4
typedef __m128i lanes;
#define LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(p), v)
#define SPREAD(pair) _mm_set1_epi32(pair)
#define ISA "sse2"
#define ADD_PAIRS(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(a, b))

#else
#define ISA "portable"
#define FQVIT_PORTABLE
#endif

#ifdef FQVIT_PORTABLE /* vectors of GCC and Clang, on any machine */
#ifndef FQVIT_LANES
#define FQVIT_LANES 4
#endif
#define VL FQVIT_LANES
#define TILE_ROWS (VL == 16 ? 12 : 4)
typedef int32_t lanes __attribute__((vector_size(4 * VL)));
typedef lanes unaligned_lanes __attribute__((aligned(4), may_alias));
#define LOAD(p) (*(const unaligned_lanes *)(p))
#define STORE(p, v) (*(unaligned_lanes *)(p) = (v))
#define SPREAD(pair) ((lanes){0} + (pair))
/* the int16 in the low and in the high half of an int32 */
#define LOW(x) (((x) << 16) >> 16)
#define HIGH(x) ((x) >> 16)
#define ADD_PAIRS(sum, a, b) ((sum) + LOW(a) * LOW(b) + HIGH(a) * HIGH(b))
#endif

/* Out of line, so that its loops have all registers and the compiler sees no aliases. */
#define APART static __attribute__((noinline))

#define TILE_VECTORS 2
#define TILE_COLUMNS (TILE_VECTORS * VL)
#endif
