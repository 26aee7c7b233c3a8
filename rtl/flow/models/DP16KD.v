// DP16KD of an ECP5: a block RAM of 1,024 words of 18 bits, for simulation and for proofs.
//
// As Yosys maps to it and nextpnr takes its parameters (Lattice describes the block in
// FPGA-TN-02204, which could not be had when this was written: compare before relying on more).
// Modelled is what Yosys and rtl.flow.absorb use, on one clock:
//
// - true dual port, each port of 1, 2, 4, 9 or 18 bits, and pseudo dual port, written by A and read
//   by B with 36 bits each, where the lower half goes in at DIA and comes out at DOA;
// - ports of less than 9 bits, which do not reach the ninth bit of a byte;
// - bytes of 9 bits, whose enables are the lowest address bits of a port of 18 or 36 bits;
// - an output that keeps its value while its port writes (WRITEMODE "NORMAL"), or takes the word as
//   it was before ("READBEFOREWRITE");
// - an output register (REGMODE "OUTREG"). OCE lets it change. Whether it would do so without CE
//   is not relied on: OCE without CE makes it X.
//
// X stands for what is left open: a word that the other port writes in the cycle in
// which it is read, two ports that write one word, resets, chip selects, and other modes.
module DP16KD (
  input
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0,
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0,
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0,
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter GSR = "ENABLED";
  parameter [319:0] INITVAL_00 = 320'd0;
  parameter [319:0] INITVAL_01 = 320'd0;
  parameter [319:0] INITVAL_02 = 320'd0;
  parameter [319:0] INITVAL_03 = 320'd0;
  parameter [319:0] INITVAL_04 = 320'd0;
  parameter [319:0] INITVAL_05 = 320'd0;
  parameter [319:0] INITVAL_06 = 320'd0;
  parameter [319:0] INITVAL_07 = 320'd0;
  parameter [319:0] INITVAL_08 = 320'd0;
  parameter [319:0] INITVAL_09 = 320'd0;
  parameter [319:0] INITVAL_0A = 320'd0;
  parameter [319:0] INITVAL_0B = 320'd0;
  parameter [319:0] INITVAL_0C = 320'd0;
  parameter [319:0] INITVAL_0D = 320'd0;
  parameter [319:0] INITVAL_0E = 320'd0;
  parameter [319:0] INITVAL_0F = 320'd0;
  parameter [319:0] INITVAL_10 = 320'd0;
  parameter [319:0] INITVAL_11 = 320'd0;
  parameter [319:0] INITVAL_12 = 320'd0;
  parameter [319:0] INITVAL_13 = 320'd0;
  parameter [319:0] INITVAL_14 = 320'd0;
  parameter [319:0] INITVAL_15 = 320'd0;
  parameter [319:0] INITVAL_16 = 320'd0;
  parameter [319:0] INITVAL_17 = 320'd0;
  parameter [319:0] INITVAL_18 = 320'd0;
  parameter [319:0] INITVAL_19 = 320'd0;
  parameter [319:0] INITVAL_1A = 320'd0;
  parameter [319:0] INITVAL_1B = 320'd0;
  parameter [319:0] INITVAL_1C = 320'd0;
  parameter [319:0] INITVAL_1D = 320'd0;
  parameter [319:0] INITVAL_1E = 320'd0;
  parameter [319:0] INITVAL_1F = 320'd0;
  parameter [319:0] INITVAL_20 = 320'd0;
  parameter [319:0] INITVAL_21 = 320'd0;
  parameter [319:0] INITVAL_22 = 320'd0;
  parameter [319:0] INITVAL_23 = 320'd0;
  parameter [319:0] INITVAL_24 = 320'd0;
  parameter [319:0] INITVAL_25 = 320'd0;
  parameter [319:0] INITVAL_26 = 320'd0;
  parameter [319:0] INITVAL_27 = 320'd0;
  parameter [319:0] INITVAL_28 = 320'd0;
  parameter [319:0] INITVAL_29 = 320'd0;
  parameter [319:0] INITVAL_2A = 320'd0;
  parameter [319:0] INITVAL_2B = 320'd0;
  parameter [319:0] INITVAL_2C = 320'd0;
  parameter [319:0] INITVAL_2D = 320'd0;
  parameter [319:0] INITVAL_2E = 320'd0;
  parameter [319:0] INITVAL_2F = 320'd0;
  parameter [319:0] INITVAL_30 = 320'd0;
  parameter [319:0] INITVAL_31 = 320'd0;
  parameter [319:0] INITVAL_32 = 320'd0;
  parameter [319:0] INITVAL_33 = 320'd0;
  parameter [319:0] INITVAL_34 = 320'd0;
  parameter [319:0] INITVAL_35 = 320'd0;
  parameter [319:0] INITVAL_36 = 320'd0;
  parameter [319:0] INITVAL_37 = 320'd0;
  parameter [319:0] INITVAL_38 = 320'd0;
  parameter [319:0] INITVAL_39 = 320'd0;
  parameter [319:0] INITVAL_3A = 320'd0;
  parameter [319:0] INITVAL_3B = 320'd0;
  parameter [319:0] INITVAL_3C = 320'd0;
  parameter [319:0] INITVAL_3D = 320'd0;
  parameter [319:0] INITVAL_3E = 320'd0;
  parameter [319:0] INITVAL_3F = 320'd0;

  wire [17:0] dia = {
      DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
      DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {
      DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
      DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [13:0] ada = {
      ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] adb = {
      ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};

  // Where a port of 36 bits reads and writes the word after its own, too.
  localparam WIDE = DATA_WIDTH_A == 36;
  wire [9:0] word_a = WIDE ? {ada[13:5], 1'b0} : ada[13:4];
  wire [9:0] word_b = WIDE ? {adb[13:5], 1'b0} : adb[13:4];

  // Where in its word a port of less than 18 bits is: its lowest bit, and which bits it has.
  wire [4:0] low_a = DATA_WIDTH_A >= 18 ? 0 : 9 * ada[3] +
    (DATA_WIDTH_A == 1 ? ada[2:0] : DATA_WIDTH_A == 2 ? {ada[2:1], 1'b0} :
     DATA_WIDTH_A == 4 ? {ada[2], 2'b0} : 0);
  wire [4:0] low_b = DATA_WIDTH_B >= 18 ? 0 : 9 * adb[3] +
    (DATA_WIDTH_B == 1 ? adb[2:0] : DATA_WIDTH_B == 2 ? {adb[2:1], 1'b0} :
     DATA_WIDTH_B == 4 ? {adb[2], 2'b0} : 0);
  localparam [17:0] BITS_A = DATA_WIDTH_A >= 18 ? 18'h3ffff : (18'd1 << DATA_WIDTH_A) - 18'd1;
  localparam [17:0] BITS_B = DATA_WIDTH_B >= 18 ? 18'h3ffff : (18'd1 << DATA_WIDTH_B) - 18'd1;

  // Which bits of its word a port writes, and of the word above.
  wire [17:0] mask_a = !(CEA && WEA) ? 18'd0 :
                       DATA_WIDTH_A >= 18 ? {{9{ada[1]}}, {9{ada[0]}}} : BITS_A << low_a;
  wire [17:0] mask_b = !(CEB && WEB) || WIDE ? 18'd0 :
                       DATA_WIDTH_B >= 18 ? {{9{adb[1]}}, {9{adb[0]}}} : BITS_B << low_b;
  wire [17:0] mask_above = WIDE && CEA && WEA ? {{9{ada[3]}}, {9{ada[2]}}} : 18'd0;
  wire [17:0] to_a = dia << low_a;
  wire [17:0] to_b = dib << low_b;

  reg [17:0] memory [0:1023];
  localparam [20479:0] START = {
      INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
      INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
      INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
      INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
      INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
      INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
      INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
      INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
      INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
      INITVAL_00};
  integer n;
  initial for (n = 0; n < 1024; n = n + 1) memory[n] = START[20 * n +: 18];

  // What the words become; what both ports write is X.
  wire same = word_a == word_b;
  wire [17:0] both = same ? mask_a & mask_b : 18'd0;
  wire [17:0] old_a = memory[word_a], old_b = memory[word_b];
  wire [17:0] old_above = memory[word_b | 10'd1];
  wire [17:0] new_a = old_a & ~mask_a | to_a & mask_a;
  wire [17:0] new_b = (same ? new_a : old_b) & ~mask_b | to_b & mask_b ^ both & 18'bx;
  wire [17:0] new_above = memory[word_a | 10'd1] & ~mask_above | dib & mask_above;
  always @(posedge CLKA) begin
    if (mask_a != 0) memory[word_a] <= new_a;
    if (mask_b != 0) memory[word_b] <= new_b;
    if (mask_above != 0) memory[word_a | 10'd1] <= new_above;
  end

  // What is read: X in a word that the other port is writing, and above a narrow port's bits.
  wire [17:0] read_a = (old_a >> low_a) ^ (same && mask_b != 0 ? 18'bx : ~BITS_A & 18'bx);
  wire [17:0] read_b = (old_b >> low_b) ^ (same && mask_a != 0 ? 18'bx : ~BITS_B & 18'bx);
  wire [17:0] read_above = old_above ^ (same && mask_above != 0 ? 18'bx : 18'd0);
  wire takes_a = CEA && (mask_a == 0 || WRITEMODE_A == "READBEFOREWRITE");
  wire takes_b = CEB && (mask_b == 0 || WRITEMODE_B == "READBEFOREWRITE");

  reg [17:0] a_latch = 0, b_latch = 0, a_register = 0, b_register = 0;
  wire ce_a = WIDE ? CEB : CEA;  // of the half A of the output
  wire oce_a = WIDE ? OCEB : OCEA;
  always @(posedge CLKA) begin
    if (WIDE ? CEB : takes_a) a_latch <= WIDE ? read_b : read_a;
    if (takes_b) b_latch <= WIDE ? read_above : read_b;
    if (oce_a) a_register <= ce_a ? a_latch : 18'bx;
    if (OCEB) b_register <= CEB ? b_latch : 18'bx;
  end

  localparam NARROW_A = DATA_WIDTH_A == 1 || DATA_WIDTH_A == 2 || DATA_WIDTH_A == 4 ||
                        DATA_WIDTH_A == 9 || DATA_WIDTH_A == 18;
  localparam NARROW_B = DATA_WIDTH_B == 1 || DATA_WIDTH_B == 2 || DATA_WIDTH_B == 4 ||
                        DATA_WIDTH_B == 9 || DATA_WIDTH_B == 18;
  localparam MODELLED =
    (WIDE && DATA_WIDTH_B == 36 || NARROW_A && NARROW_B) &&
    (WRITEMODE_A == "NORMAL" || WRITEMODE_A == "READBEFOREWRITE") &&
    (WRITEMODE_B == "NORMAL" || WRITEMODE_B == "READBEFOREWRITE") &&
    CSDECODE_A == "0b000" && CSDECODE_B == "0b000" && CLKAMUX == "CLKA" && CLKBMUX == "CLKB";
  wire known = MODELLED && !RSTA && !RSTB && !CSA0 && !CSA1 && !CSA2 && !CSB0 && !CSB1 && !CSB2;
  assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0
  } = !known ? 18'bx : REGMODE_A == "OUTREG" ? a_register : a_latch;
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0
  } = !known ? 18'bx : REGMODE_B == "OUTREG" ? b_register : b_latch;
endmodule
