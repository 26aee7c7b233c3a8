/* The whole library in one unit: the compiler sees and inlines everything. */
#include "attention.c"
#include "elementwise.c"
#include "linear.c"

const char *fqvit_isa(void)
{
    return ISA;
}

int64_t fqvit_tile_columns(void)
{
    return TILE_COLUMNS;
}
