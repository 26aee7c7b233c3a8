// DP16KD of an ECP5: a block RAM of 1,024 words of 18 bits, for simulation and for proofs.
//
// Written from the description of the sysMEM block in Lattice's FPGA-TN-02204. Modelled is what
// Yosys and rtl.flow.absorb use, on one clock:
//
// - true dual port, 9 or 18 bits at each port, and pseudo dual port, written by A and read by B with
//   36 bits each, where the lower half goes in at DIA and comes out at DOA;
// - bytes of 9 bits, whose enables are the lowest address bits of a port of 18 or 36 bits;
// - an output that keeps its value while the port writes (WRITEMODE "NORMAL");
// - an output register (REGMODE "OUTREG"). OCE lets it change. Whether it would do so without CE
//   is not relied on: OCE without CE makes it X.
//
// X stands for what the document leaves open: a word that the other port writes in the cycle in
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

  // Which bytes are written: of the own word, and of the one after it.
  wire [3:0] bytes_a = !(CEA && WEA) ? 4'd0 : WIDE ? ada[3:0] :
                       DATA_WIDTH_A == 18 ? {2'd0, ada[1:0]} : {2'd0, ada[3], !ada[3]};
  wire [1:0] bytes_b = !(CEB && WEB) ? 2'd0 :
                       DATA_WIDTH_B == 18 ? adb[1:0] : {adb[3], !adb[3]};
  wire [17:0] to_a = DATA_WIDTH_A == 9 ? {dia[8:0], dia[8:0]} : dia;
  wire [17:0] to_b = DATA_WIDTH_B == 9 ? {dib[8:0], dib[8:0]} : dib;

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

  wire same = word_a == word_b;
  always @(posedge CLKA) begin
    if (bytes_a[0]) memory[word_a][8:0] <= to_a[8:0];
    if (bytes_a[1]) memory[word_a][17:9] <= to_a[17:9];
    if (bytes_a[2]) memory[word_a | 10'd1][8:0] <= dib[8:0];
    if (bytes_a[3]) memory[word_a | 10'd1][17:9] <= dib[17:9];
    if (!WIDE && bytes_b[0]) memory[word_b][8:0] <= same && bytes_a[0] ? 9'bx : to_b[8:0];
    if (!WIDE && bytes_b[1]) memory[word_b][17:9] <= same && bytes_a[1] ? 9'bx : to_b[17:9];
  end

  // Words as read: the byte of a port of 9 bits comes out below.
  wire [17:0] read_a = DATA_WIDTH_A == 9 && ada[3] ? {9'bx, memory[word_a][17:9]} : memory[word_a];
  wire [17:0] read_b = DATA_WIDTH_B == 9 && adb[3] ? {9'bx, memory[word_b][17:9]} : memory[word_b];
  wire [17:0] above = memory[word_b | 10'd1];
  wire hit_a = same && bytes_b != 0;  // the word that A reads is being written by B
  wire hit_b = same && bytes_a != 0;

  reg [17:0] a_latch = 0, b_latch = 0, a_register = 0, b_register = 0;
  always @(posedge CLKA)
    if (WIDE) begin
      if (CEB) a_latch <= hit_b ? 18'bx : memory[word_b];
      if (OCEB) a_register <= CEB ? a_latch : 18'bx;
    end else begin
      if (CEA && bytes_a == 0) a_latch <= hit_a ? 18'bx : read_a;
      if (OCEA) a_register <= CEA ? a_latch : 18'bx;
    end
  always @(posedge CLKA) begin
    if (CEB && bytes_b == 0) b_latch <= hit_b ? 18'bx : WIDE ? above : read_b;
    if (OCEB) b_register <= CEB ? b_latch : 18'bx;
  end

  localparam MODELLED =
    (DATA_WIDTH_A == 36 && DATA_WIDTH_B == 36 ||
     (DATA_WIDTH_A == 9 || DATA_WIDTH_A == 18) && (DATA_WIDTH_B == 9 || DATA_WIDTH_B == 18)) &&
    CSDECODE_A == "0b000" && CSDECODE_B == "0b000" && CLKAMUX == "CLKA" && CLKBMUX == "CLKB" &&
    WRITEMODE_A == "NORMAL" && WRITEMODE_B == "NORMAL";
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
